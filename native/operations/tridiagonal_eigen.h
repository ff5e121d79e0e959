// Eigenvalues and eigenvectors of a symmetric tridiagonal matrix by divide and conquer (Cuppen 1981; Gu and Eisenstat
// 1995): halves are solved alone, and the two are joined by a rank-1 change. Almost all work is products of dense
// matrices. Eigenvalues and the joins' equations are f64, eigenvectors f32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "operations/scratch.h"
#include "runtime/thread_pool.h"

namespace mbok {

struct TridiagonalScratch {
  TridiagonalScratch(int64_t n, int threads, Scratch& scratch);

  float *rows, *factors;  // [n, n] each
  double *poles, *weights, *shifts, *adjusted, *norms;
  int64_t *order, *origins, *joined;
  uint8_t *sides, *changed;
  std::byte* product;
};

// diagonal [n] becomes the eigenvalues, ascending; off_diagonal [n − 1] is destroyed. Row i of vectors [n, n], which
// need not be initialized, becomes the eigenvector of eigenvalue i, of unit length.
void tridiagonal_eigen(ThreadPool& pool, int64_t n, double* diagonal, double* off_diagonal, float* vectors,
                       const TridiagonalScratch& scratch);

}  // namespace mbok
