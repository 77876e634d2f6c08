/* All kernels for one instruction set; `table_<ISA>` is what dispatch.c chooses from. */
#include "core.h"
#include "simd.h"
#include "slab.h"
#include "dense.h"
#include "depthwise.h"
#include "table.h"

#define PASTE(a, b) a##b
#define NAMED(prefix, isa) PASTE(prefix, isa)

static int64_t packed_floats(const Problem *p) {
    int64_t taps = p->kernel[0] * p->kernel[1];
    int64_t channels = p->channels / p->groups, filters = p->filters / p->groups;
    if (is_depthwise(p)) return vectors_of(p->channels) * LANES * taps;
    if (p->direction == FORWARD) return p->groups * vectors_of(filters) * LANES * channels * taps;
    return p->groups * vectors_of(channels) * LANES * filters * taps;
}

static void pack(const Problem *p, float *to) {
    if (is_depthwise(p)) pack_depthwise(p, to);
    else if (p->direction == FORWARD) pack_forward(p, to);
    else pack_input_grad(p, to);
}

static int64_t partial_floats(const Job *job) {
    const Problem *p = &job->p;
    return job->row_units * (p->kernel[0] * p->kernel[1] + 1) * vectors_of(p->channels) * LANES;
}

static int unit(const Job *job, int64_t number) {
    const Problem *p = &job->p;
    if (is_depthwise(p)) {
        int64_t block = number % job->channel_units, image = number / job->channel_units;
        if (p->direction == WEIGHT_GRAD) return depthwise_weight_grad_unit(job, image, block);
        if (p->direction == FORWARD)
            return p->arithmetic == ADD ? depthwise_forward_unit(job, image, block * job->block, ADD)
                                        : depthwise_forward_unit(job, image, block * job->block, MULT);
        return p->arithmetic == ADD ? depthwise_input_grad_unit(job, image, block * job->block, ADD)
                                    : depthwise_input_grad_unit(job, image, block * job->block, MULT);
    }
    int64_t image = number / job->row_units, first = number % job->row_units * job->rows_per_unit;
    int64_t rows = p->direction == FORWARD ? p->out_size[0] : p->size[0];
    int64_t last = first + job->rows_per_unit < rows ? first + job->rows_per_unit : rows;
    return p->direction == FORWARD ? forward_unit(job, image, first, last) : input_grad_unit(job, image, first, last);
}

const Table NAMED(table_, ISA) = {LANES, packed_floats, partial_floats, pack, unit, depthwise_weight_grad_end};
