/* Vectors of float32, one width per instruction set. A file that includes this is compiled once per instruction set,
 * with -DISA=<name> and the flags that allow its instructions. */
#ifndef SHIFTADDAUG_SIMD_H
#define SHIFTADDAUG_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__) && defined(__AVX512DQ__)

#include <immintrin.h>
#define LANES 16
#define TILE 8         /* output positions that share one load of the weights */
#define MAX_VECTORS 3  /* of filters in a tile: TILE * MAX_VECTORS sums stay in registers */
typedef __m512 vec;
INLINE vec v_set(float a) { return _mm512_set1_ps(a); }
INLINE vec v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
INLINE vec v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
INLINE void v_store_n(float *p, vec a, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a); }
INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec v_abs(vec a) { return _mm512_abs_ps(a); }
/* sign(a) * min(|a|, 1) in one instruction, which makes 1 of a nan: see `irregular` in core.h */
INLINE vec v_clip1(vec a, vec one) { return _mm512_range_ps(a, one, 0x2); }
INLINE int v_has_nan(vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0; }
/* a - b on the multiply-add units, whatever the compiler knows of `one` */
INLINE vec v_sub_fma(vec a, vec b, vec one) { return _mm512_fmsub_ps(a, one, b); }
#define OPAQUE(v) __asm__("" : "+v"(v))

#elif defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>
#define LANES 8
#define TILE 4
#define MAX_VECTORS 2
typedef __m256 vec;
static const int32_t TAIL_MASK[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
INLINE __m256i v_mask(int n) { return _mm256_loadu_si256((const __m256i *)(TAIL_MASK + 8 - n)); }
INLINE vec v_set(float a) { return _mm256_set1_ps(a); }
INLINE vec v_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void v_store(float *p, vec a) { _mm256_storeu_ps(p, a); }
INLINE vec v_load_n(const float *p, int n) { return _mm256_maskload_ps(p, v_mask(n)); }
INLINE void v_store_n(float *p, vec a, int n) { _mm256_maskstore_ps(p, v_mask(n), a); }
INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec v_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
INLINE vec v_clip1(vec a, vec one) {
    return _mm256_max_ps(_mm256_xor_ps(one, _mm256_set1_ps(-0.0f)), _mm256_min_ps(one, a));
}
INLINE int v_has_nan(vec a) { return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0; }
INLINE vec v_sub_fma(vec a, vec b, vec one) { return _mm256_fmsub_ps(a, one, b); }
#define OPAQUE(v) __asm__("" : "+x"(v))

#else /* any processor: four lanes, which every compiler maps to what there is */

#define LANES 4
#define TILE 4
#define MAX_VECTORS 2
typedef float vec __attribute__((vector_size(16)));
typedef int32_t ivec __attribute__((vector_size(16)));
INLINE vec v_set(float a) { return (vec){a, a, a, a}; }
INLINE vec v_load(const float *p) { vec a; memcpy(&a, p, sizeof a); return a; }
INLINE void v_store(float *p, vec a) { memcpy(p, &a, sizeof a); }
INLINE vec v_load_n(const float *p, int n) { vec a = {0, 0, 0, 0}; memcpy(&a, p, sizeof(float) * (size_t)n); return a; }
INLINE void v_store_n(float *p, vec a, int n) { memcpy(p, &a, sizeof(float) * (size_t)n); }
INLINE vec v_add(vec a, vec b) { return a + b; }
INLINE vec v_sub(vec a, vec b) { return a - b; }
INLINE vec v_mul(vec a, vec b) { return a * b; }
INLINE vec v_fma(vec a, vec b, vec c) { return a * b + c; }
INLINE vec v_abs(vec a) { return (vec)((ivec)a & (ivec){0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff}); }
INLINE vec v_select(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
INLINE vec v_clip1(vec a, vec one) {
    vec low = v_select((ivec)(a < one), a, one);
    return v_select((ivec)(low < -one), -one, low);
}
INLINE int v_has_nan(vec a) {
    ivec nan = (ivec)(a != a);
    return (nan[0] | nan[1] | nan[2] | nan[3]) != 0;
}
INLINE vec v_sub_fma(vec a, vec b, vec one) { (void)one; return a - b; }
#define OPAQUE(v) (void)(v)

#endif

/* n lanes if they are not all of them */
INLINE vec v_load_some(const float *p, int n) { return n >= LANES ? v_load(p) : v_load_n(p, n); }
INLINE void v_store_some(float *p, vec a, int n) {
    if (n >= LANES) v_store(p, a);
    else v_store_n(p, a, n);
}

#endif
