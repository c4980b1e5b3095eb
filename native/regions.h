// Regions: page-aligned memory that a ring holds, and of which ArrayBuffers may hold parts. A region is unmapped when neither
// the ring nor any part of it is in use. Included by liburing-shim.c.

static void region_drop(struct region *region)
{
    if (__atomic_sub_fetch(&region->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    munmap(region->address, region->length);
    free(region);
}

// Maps `length` bytes of zeroed, page-aligned memory, held by the ring until region_free or the end of the ring.
// huge: ask for transparent huge pages. shares: how many ArrayBuffers may hold parts of it. Returns the address, or NULL.
EXPORT void *bun_uring_region_new(struct ring *ring, double length, int32_t huge, uint32_t shares)
{
    struct region *region = calloc(1, sizeof(*region) + shares * sizeof(struct share));
    if (!region)
        return NULL;
    region->length = (size_t)length;
    region->address =
        mmap(NULL, region->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->address == MAP_FAILED) {
        free(region);
        return NULL;
    }
    if (huge)
        madvise(region->address, region->length, MADV_HUGEPAGE);
    madvise(region->address, region->length, MADV_DONTFORK);
    region->holders = 1;
    region->share_count = shares;
    for (uint32_t i = 0; i < shares; i++)
        region->shares[i].region = region;
    region->next = ring->regions;
    ring->regions = region;
    return region->address;
}

// The region at this address, for region_share and region_held; NULL if the ring has none there.
EXPORT struct region *bun_uring_region_at(struct ring *ring, const void *address)
{
    for (struct region *region = ring->regions; region; region = region->next)
        if (region->address == address)
            return region;
    return NULL;
}

// Makes share `index` a holder of the region. Returns it: the context of region_release, which is the finalizer of the
// ArrayBuffer. NULL if it is held already. The caller holds the region by the ring or by another share.
EXPORT struct share *bun_uring_region_share(struct region *region, uint32_t index)
{
    if (index >= region->share_count || __atomic_exchange_n(&region->shares[index].held, 1, __ATOMIC_ACQ_REL))
        return NULL;
    __atomic_add_fetch(&region->holders, 1, __ATOMIC_RELAXED);
    return &region->shares[index];
}

// Whether share `index` is held. The caller holds the region by the ring or by another share.
EXPORT int32_t bun_uring_region_held(struct region *region, uint32_t index)
{
    return index < region->share_count && __atomic_load_n(&region->shares[index].held, __ATOMIC_ACQUIRE);
}

// The ring lets the region go. The caller knows that no operation in the kernel uses it.
EXPORT int32_t bun_uring_region_free(struct ring *ring, void *address)
{
    for (struct region **link = &ring->regions; *link; link = &(*link)->next) {
        struct region *region = *link;
        if (region->address != address)
            continue;
        *link = region->next;
        region_drop(region);
        return 0;
    }
    return -EINVAL;
}

// The finalizer of ArrayBuffers over a region, on whatever thread has them by then.
static void region_release(void *bytes, void *context)
{
    (void)bytes;
    struct share *share = context;
    struct region *region = share->region;
    __atomic_store_n(&share->held, 0, __ATOMIC_RELEASE);
    region_drop(region);
}
