// Numbers as people read them, and errors as one line. Decimal units: 1 MB is 1,000,000 bytes, as df -H and disks count.

/** "532 B", "1.20 MB", "34.1 GB": three digits that count. */
export function bytesText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}

/** "0.42 s", "14 s", "3:07 min", "1:02:09 h"; `digits` after the point below ten seconds. */
export function durationText(seconds: number, digits: number = 2): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(digits)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number): string => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)} min`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)} h`;
}

/** "1 file", "12,345 files". */
export function countText(count: number, noun: string, plural: string = `${noun}s`): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? noun : plural}`;
}

/** What went wrong, as one line; without the package's name, which the command line writes itself. */
export function errorText(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text
    .replace(/^bun-uring: /, "")
    .replace(/\s*\n\s*/g, " ")
    .trim();
}
