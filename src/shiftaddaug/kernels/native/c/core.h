/* The convolutions of this folder: float32, channels adjacent in memory (NHWC), any geometry.
 *
 * A call is three steps, so that whoever calls owns the threads: `shiftaddaug_begin` lays out the weights,
 * `shiftaddaug_work` is run by as many threads as there are (each takes pieces of work until none is left), and
 * `shiftaddaug_end` finishes and frees. Results do not depend on the number of threads: what is summed together, and
 * in which order, follows from the shapes alone.
 */
#ifndef SHIFTADDAUG_CORE_H
#define SHIFTADDAUG_CORE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { ADD = 0, MULT = 1 };                              /* arithmetic */
enum { FORWARD = 0, INPUT_GRAD = 1, WEIGHT_GRAD = 2 };   /* direction */

/* Mirrored field by field in problem.py. Pairs are (vertical, horizontal); strides count elements. */
typedef struct {
    int32_t arithmetic, direction;
    const float *x, *w, *g;    /* g: gradient of the output; unused in FORWARD */
    float *out;                /* y, dx or dw */
    int64_t x_stride[3];       /* of images, rows, columns */
    int64_t y_stride[3];       /* of y in FORWARD, of g otherwise */
    int64_t out_stride[3];     /* of dx in INPUT_GRAD */
    int64_t w_stride[4];       /* of filters, channels, rows, columns; dw is contiguous */
    int64_t images, channels, size[2];
    int64_t filters, out_size[2];
    int64_t kernel[2], stride[2], padding[2], dilation[2], groups;
    float scale;               /* of the output */
} Problem;

/* What a unit of work, and a call, may end with. IRREGULAR: an input gradient that is not computed, as a slope may be
 * nan: a weight is not finite, or an input is nan. A clip may lose a nan, and a gradient beyond the border, which is 0,
 * does not cancel one. */
enum { DONE = 0, OUT_OF_MEMORY = 1, IRREGULAR = 2 };

/* A problem at work. */
typedef struct {
    Problem p;
    float *packed;             /* weights, as the kernel reads them */
    float *partial;            /* WEIGHT_GRAD: sums of each chunk of images */
    int64_t units, rows_per_unit, row_units, channel_units, images_per_unit;
    int64_t block;             /* channels of a depthwise unit, whole vectors */
    int isa;                   /* as numbered in dispatch.c */
    int padded;                /* whether inputs are copied into a zero-padded slab */
    atomic_int_fast64_t next;  /* unit */
    atomic_int failed;         /* out of memory in a thread */
    atomic_int irregular;      /* INPUT_GRAD: see IRREGULAR */
} Job;

static inline int is_depthwise(const Problem *p) { return p->groups == p->channels && p->filters == p->channels; }

/* Per-thread memory, kept between calls up to a bound; NULL if there is none left. */
float *shiftaddaug_scratch(size_t floats);

#endif
