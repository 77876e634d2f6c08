/* The library's entry points: which instruction sets there are, and one call in three steps (core.h). */
#define _POSIX_C_SOURCE 200112L
#include "core.h"
#include "table.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern const Table table_portable;
#ifdef WITH_AVX2
extern const Table table_avx2;
#endif
#ifdef WITH_AVX512
extern const Table table_avx512;
#endif

#ifndef SOURCE_HASH
#define SOURCE_HASH ""
#endif

enum { PORTABLE = 0, AVX2 = 1, AVX512 = 2 };

#define UNIT_FLOATS (16 * 1024)  /* input and output of a unit, about: they should stay in the second-level cache */
#define DEPTHWISE_FLOATS (64 * 1024) /* input of a depthwise unit */
#ifndef SCRATCH_KEPT
#define SCRATCH_KEPT (1 << 20)   /* floats that a thread keeps between calls */
#endif
#define IMAGE_CHUNKS 16          /* of a depthwise weight gradient */

static const Table *table_of(int isa) {
    switch (isa) {
#ifdef WITH_AVX512
        case AVX512: return &table_avx512;
#endif
#ifdef WITH_AVX2
        case AVX2: return &table_avx2;
#endif
        case PORTABLE: return &table_portable;
        default: return NULL;
    }
}

/* Whether this library and this processor have an instruction set. */
int shiftaddaug_has(int isa) {
    if (!table_of(isa)) return 0;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (isa == AVX512) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    if (isa == AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return 1;
}

/* Of the sources this library was compiled from, for callers to compare with theirs. */
const char *shiftaddaug_source_hash(void) { return SOURCE_HASH; }

static _Thread_local struct {
    float *at;
    size_t floats;
} scratch;

static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static pthread_key_t scratch_key; /* frees a thread's scratch when the thread ends */
static int scratch_keyed;

static void make_scratch_key(void) { scratch_keyed = !pthread_key_create(&scratch_key, free); }

static void replace_scratch(size_t floats) {
    free(scratch.at);
    scratch.at = NULL, scratch.floats = 0;
    void *at = NULL;
    if (floats && posix_memalign(&at, 64, floats * sizeof(float))) at = NULL;
    if (pthread_setspecific(scratch_key, at)) {
        free(at);
        return;
    }
    scratch.at = at, scratch.floats = at ? floats : 0;
}

float *shiftaddaug_scratch(size_t floats) {
    pthread_once(&scratch_once, make_scratch_key);
    if (scratch_keyed && floats > scratch.floats) replace_scratch(floats);
    return scratch.floats < floats ? NULL : scratch.at;
}

static int needs_padding(const Problem *p) {
    if (p->direction == INPUT_GRAD) { /* whether inputs meet gradients beyond the output's border */
        for (int axis = 0; axis < 2; axis++) {
            int64_t low = p->padding[axis] - p->dilation[axis] * (p->kernel[axis] - 1);
            int64_t high = (p->size[axis] - 1 + p->padding[axis]) / p->stride[axis];
            if (low < 0 || high >= p->out_size[axis]) return 1;
        }
        return 0;
    }
    return p->padding[0] > 0 || p->padding[1] > 0;
}

static void divide(Job *job, const Table *table) {
    const Problem *p = &job->p;
    int64_t pixels = (p->size[0] + 2 * p->padding[0]) * (p->size[1] + 2 * p->padding[1]);
    int64_t vectors = (p->channels + table->lanes - 1) / table->lanes;
    int64_t fitting = DEPTHWISE_FLOATS / (pixels * table->lanes);
    int64_t parts = fitting ? (vectors + fitting - 1) / fitting : vectors;
    int64_t at_once = (vectors + parts - 1) / parts; /* evenly */
    job->block = at_once * table->lanes;
    job->channel_units = (vectors + at_once - 1) / at_once;
    if (p->direction == WEIGHT_GRAD) {
        job->images_per_unit = (p->images + IMAGE_CHUNKS - 1) / IMAGE_CHUNKS;
        job->row_units = (p->images + job->images_per_unit - 1) / job->images_per_unit;
        job->units = job->channel_units * job->row_units;
    } else if (is_depthwise(p)) {
        job->units = p->images * job->channel_units;
    } else {
        int64_t rows = p->direction == FORWARD ? p->out_size[0] : p->size[0];
        int64_t row_floats = p->size[1] * p->channels + p->out_size[1] * p->filters;
        int64_t rows_at_once = (UNIT_FLOATS + row_floats - 1) / row_floats;
        /* phases of a strided convolution start anew in each unit */
        rows_at_once = (rows_at_once + p->stride[0] - 1) / p->stride[0] * p->stride[0];
        job->rows_per_unit = rows_at_once < rows ? rows_at_once : rows;
        job->row_units = (rows + job->rows_per_unit - 1) / job->rows_per_unit;
        job->units = p->images * job->row_units;
    }
}

static int all_finite(const float *values, size_t count) {
    int finite = 1;
    for (size_t i = 0; i < count; i++) finite &= isfinite(values[i]) != 0;
    return finite;
}

/* A job for this problem; NULL if memory is out or the instruction set is missing. */
Job *shiftaddaug_begin(const Problem *problem, int isa) {
    const Table *table = table_of(isa);
    if (!table) return NULL;
    Job *job = calloc(1, sizeof *job);
    if (!job) return NULL;
    job->p = *problem;
    job->padded = needs_padding(problem);
    divide(job, table);
    size_t packed = problem->direction == WEIGHT_GRAD ? 0 : (size_t)table->packed_floats(problem);
    size_t partial = problem->direction == WEIGHT_GRAD ? (size_t)table->partial_floats(job) : 0;
    job->packed = malloc((packed + 1) * sizeof(float));
    job->partial = calloc(partial + 1, sizeof(float));
    if (!job->packed || !job->partial) {
        free(job->packed), free(job->partial), free(job);
        return NULL;
    }
    if (packed) table->pack(problem, job->packed);
    job->isa = isa;
    atomic_init(&job->next, 0);
    atomic_init(&job->failed, 0);
    atomic_init(&job->irregular, problem->direction == INPUT_GRAD && !all_finite(job->packed, packed));
    return job;
}

/* Run by every thread of the caller's. */
void shiftaddaug_work(void *opaque) {
    Job *job = opaque;
    const Table *table = table_of(job->isa);
    for (;;) {
        int64_t number = atomic_fetch_add(&job->next, 1);
        if (number >= job->units || atomic_load(&job->failed) || atomic_load(&job->irregular)) break;
        int outcome = table->unit(job, number);
        if (outcome == OUT_OF_MEMORY) atomic_store(&job->failed, 1);
        if (outcome == IRREGULAR) atomic_store(&job->irregular, 1);
    }
    if (scratch.floats > SCRATCH_KEPT) replace_scratch(0);
}

/* DONE if the result is complete, or why it is not. */
int shiftaddaug_end(Job *job) {
    int outcome = atomic_load(&job->failed) ? OUT_OF_MEMORY : atomic_load(&job->irregular) ? IRREGULAR : DONE;
    if (outcome == DONE && job->p.direction == WEIGHT_GRAD) table_of(job->isa)->weight_grad_end(job);
    free(job->packed), free(job->partial), free(job);
    return outcome;
}
