/* What an instruction set's kernels offer to dispatch.c. */
#ifndef SHIFTADDAUG_TABLE_H
#define SHIFTADDAUG_TABLE_H

#include "core.h"

typedef struct {
    int64_t lanes; /* of a vector */
    int64_t (*packed_floats)(const Problem *);
    int64_t (*partial_floats)(const Job *);
    void (*pack)(const Problem *, float *);
    int (*unit)(const Job *, int64_t);
    void (*weight_grad_end)(const Job *);
} Table;

#endif
