/* What every world can say of itself, whichever library it is over. */
#include "collective.h"
#include "mlc.h"

int mlc_world_rank(const struct mlc_world *world)
{
    return world->rank;
}

int mlc_world_size(const struct mlc_world *world)
{
    return world->size;
}

void mlc_world_close(struct mlc_world *world)
{
    if (world)
        world->close(world);
}
