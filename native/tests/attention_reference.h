// Causal attention over packed sequences in double, and its backward by the chain rule.
#pragma once

#include "support.h"

namespace rl::test {

struct AttentionShape {
  std::vector<int64_t> lengths;
  int64_t heads, kv_heads, d;
  int64_t window = 0;

  int64_t tokens() const {
    int64_t n = 0;
    for (int64_t l : lengths) n += l;
    return n;
  }
  Ints cu_seqlens() const {
    Ints cu{0};
    for (int64_t l : lengths) cu.push_back(cu.back() + static_cast<int32_t>(l));
    return cu;
  }
  double scale() const { return static_cast<double>(static_cast<float>(1 / std::sqrt(static_cast<double>(d)))); }
};

struct AttentionResult {
  std::vector<double> o, lse;      // [T,heads,d], [heads,T]
  std::vector<double> gq, gk, gv;  // with a gradient of o
};

inline AttentionResult attention_reference(const AttentionShape &s, const std::vector<double> &q,
                                           const std::vector<double> &k, const std::vector<double> &v,
                                           const std::vector<double> *go = nullptr) {
  const int64_t t_all = s.tokens(), d = s.d, group = s.heads / s.kv_heads;
  AttentionResult r;
  r.o.assign(q.size(), 0);
  r.lse.assign(static_cast<size_t>(s.heads * t_all), 0);
  r.gq.assign(q.size(), 0);
  r.gk.assign(k.size(), 0);
  r.gv.assign(v.size(), 0);
  int64_t begin = 0;
  for (int64_t length : s.lengths) {
    for (int64_t h = 0; h < s.heads; h++) {
      for (int64_t i = begin; i < begin + length; i++) {
        const int64_t first = s.window > 0 && i - s.window + 1 > begin ? i - s.window + 1 : begin;
        const size_t qi = static_cast<size_t>((i * s.heads + h) * d);
        auto kv = [&](int64_t j) { return static_cast<size_t>((j * s.kv_heads + h / group) * d); };
        auto dot = [d](const std::vector<double> &a, size_t ai, const std::vector<double> &b, size_t bi) {
          double sum = 0;
          for (size_t c = 0; c < static_cast<size_t>(d); c++) sum += a[ai + c] * b[bi + c];
          return sum;
        };
        std::vector<double> p;
        double top = -INFINITY, sum = 0;
        for (int64_t j = first; j <= i; j++) {
          p.push_back(s.scale() * dot(q, qi, k, kv(j)));
          top = std::max(top, p.back());
        }
        for (double &x : p) sum += x = std::exp(x - top);
        r.lse[static_cast<size_t>(h * t_all + i)] = top + std::log(sum);
        for (size_t j = 0; j < p.size(); j++) {
          p[j] /= sum;
          for (size_t c = 0; c < static_cast<size_t>(d); c++)
            r.o[qi + c] += p[j] * v[kv(first + static_cast<int64_t>(j)) + c];
        }
        if (!go) continue;
        const double delta = dot(*go, qi, r.o, qi);
        for (size_t j = 0; j < p.size(); j++) {
          const size_t at = kv(first + static_cast<int64_t>(j));
          const double ds = p[j] * (dot(*go, qi, v, at) - delta) * s.scale();
          for (size_t c = 0; c < static_cast<size_t>(d); c++) {
            r.gv[at + c] += p[j] * (*go)[qi + c];
            r.gk[at + c] += ds * q[qi + c];
            r.gq[qi + c] += ds * k[at + c];
          }
        }
      }
    }
    begin += length;
  }
  return r;
}

}  // namespace rl::test
