// The traffic report: each op once at a shape that is small and of the real one's kind, counted by the emulator. Writes
// traffic.md to the build folder, and fails where a kernel asks for more than cuda/traffic.def allows, or where the copy in
// docs/gpu is another kernel's by now.
#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "traffic_cases.h"

namespace rl::test {
namespace {

const char *const kCounted = RL_BUILD_DIR "/traffic.tsv";
const bool asked = [] {  // before the device is opened
  setenv("RLHF4J_TEST_DEVICE", "emulated-checked", 0);
  return setenv("RLHF4J_EMULATOR_TRAFFIC", kCounted, 1) == 0;
}();

/// Units are sectors (global) or wavefronts (shared).
struct Counts {
  double requests = 0, units = 0, ideal = 0;
  void operator+=(const Counts &c) { requests += c.requests, units += c.units, ideal += c.ideal; }
  double ratio() const { return ideal > 0 ? units / ideal : 1; }
};
struct Line {
  std::string place, kind;
  Counts counts;
};
/// [0]: global memory, [1]: shared.
struct Kernel {
  Counts total[2];
  std::vector<Line> lines[2];

  /// The lines that cost most above the ideal.
  std::string worst(int space, size_t most) {
    auto &all = lines[space];
    auto lost = [](const Line &l) { return l.counts.units - l.counts.ideal; };
    std::stable_sort(all.begin(), all.end(), [&](const Line &a, const Line &b) { return lost(a) > lost(b); });
    std::string text;
    for (size_t i = 0; i < std::min(most, all.size()) && lost(all[i]) > 0; i++) {
      char figures[64];
      std::snprintf(figures, sizeof figures, " %s %.0f/%.0f", all[i].kind.c_str(), all[i].counts.units,
                    all[i].counts.ideal);
      text += (i ? ", " : "") + all[i].place + figures;
    }
    return text;
  }
};
using Kernels = std::map<std::string, Kernel>;

struct Budget {
  const char *prefix;
  double allowed[2];
};
constexpr Budget kBudgets[] = {
#define RL_TRAFFIC(prefix, sectors, wavefronts) {#prefix, {sectors, wavefronts}},
#include "cuda/traffic.def"
#undef RL_TRAFFIC
};

const Budget *budget_of(const std::string &kernel) {
  const Budget *found = nullptr;  // the longest prefix
  for (const Budget &b : kBudgets) {
    if (kernel.starts_with(b.prefix) && (!found || std::strlen(b.prefix) > std::strlen(found->prefix))) found = &b;
  }
  return found;
}

Kernels read_counted() {
  Kernels kernels;
  std::ifstream in(kCounted);
  for (std::string text; std::getline(in, text);) {
    std::istringstream fields(text);
    std::string kernel, place, space, kind;
    double requests, bytes, units, ideal;
    fields >> kernel >> place >> space >> kind >> requests >> bytes >> units >> ideal;
    const int s = space == "shared";
    const Counts counts{requests, units, ideal};
    Kernel &k = kernels[kernel];
    k.total[s] += counts;
    auto same = std::find_if(k.lines[s].begin(), k.lines[s].end(),
                             [&](const Line &l) { return l.place == place && l.kind == kind; });
    if (same == k.lines[s].end())
      k.lines[s].push_back({place, kind, counts});
    else
      same->counts += counts;
  }
  return kernels;
}

std::string amount(double x) {
  char text[32];
  std::snprintf(text, sizeof text, x < 10 ? "%.2f" : x < 100 ? "%.1f" : "%.0f", x);
  return text;
}

/// Rows of a table that begin with `kernel`, for what must agree with the copy.
std::map<std::string, std::vector<std::string>> kernel_rows(std::istream &in) {
  std::map<std::string, std::vector<std::string>> rows;
  for (std::string text; std::getline(in, text);) {
    std::vector<std::string> cells;
    std::istringstream row(text);
    for (std::string cell; std::getline(row, cell, '|');) {
      const size_t from = cell.find_first_not_of(' ');
      cells.push_back(from == std::string::npos ? "" : cell.substr(from, cell.find_last_not_of(' ') - from + 1));
    }
    if (cells.size() > 8 && cells[2].starts_with("`")) rows[cells[1] + ": " + cells[2]] = cells;
  }
  return rows;
}

TEST(Traffic, IsWithinTheBudgets) {
  ASSERT_TRUE(asked);
  std::ostringstream ops, kernels;
  std::map<std::string, bool> used;
  for (const Budget &b : kBudgets) used[b.prefix] = false;
  for_each_case([&](const Case &c, const std::function<void()> &run) {
    RL_CHECK(rl_device_synchronize(device()));
    std::ofstream(kCounted, std::ios::trunc);
    run();
    RL_CHECK(rl_device_synchronize(device()));
    Kernels measured = read_counted();
    double sectors = 0;
    for (auto &[name, kernel] : measured) {
      sectors += kernel.total[0].units;
      kernels << "| " << c.name << " | `" << name << "` | " << amount(kernel.total[0].units * 32 / 1e6) << " | "
              << amount(kernel.total[0].ratio()) << " | ";
      if (kernel.total[1].requests > 0)
        kernels << amount(kernel.total[1].units / 1e3) << " | " << amount(kernel.total[1].ratio()) << " | ";
      else
        kernels << "| | ";
      const Budget *budget = budget_of(name);
      kernels << (budget ? amount(budget->allowed[0]) + ", " + amount(budget->allowed[1]) : "") << " | "
              << kernel.worst(0, 1) << (kernel.worst(0, 1).empty() || kernel.worst(1, 1).empty() ? "" : "; ")
              << kernel.worst(1, 1) << " |\n";
      if (!budget) continue;
      used[budget->prefix] = true;
      for (int s : {0, 1}) {
        EXPECT_LE(kernel.total[s].ratio(), budget->allowed[s] + 1e-9)
            << c.name << ": " << name << " needs " << amount(kernel.total[s].ratio())
            << (s ? " wavefronts of shared memory" : " sectors of global memory") << " where the ideal is 1 and "
            << amount(budget->allowed[s]) << " are allowed (cuda/traffic.def): " << kernel.worst(s, 4);
      }
    }
    const double bound_memory = c.model.bytes / 3.35e12,
                 bound_work = c.model.operations / (c.tensor_cores ? 989e12 : 67e12);
    ops << "| " << c.name << " | " << c.shape << " | " << amount(c.small.bytes / 1e6) << " | "
        << amount(sectors * 32 / 1e6) << " | " << amount(sectors * 32 / c.small.bytes) << " | " << c.model_shape
        << " | " << amount(c.model.bytes / 1e6) << " | " << amount(c.model.operations / 1e9) << " | "
        << amount(std::max(bound_memory, bound_work) * 1e6) << " | "
        << (bound_memory >= bound_work ? "memory" : "arithmetic") << " |\n";
  });
  for (const auto &[prefix, is_used] : used)
    EXPECT_TRUE(is_used) << "traffic.def: no kernel's name begins with " << prefix;

  std::ostringstream table;
  table << kHeader << ops.str() << kKernelsHeader << kernels.str();
  std::ofstream(RL_BUILD_DIR "/traffic.md") << table.str();

  // The copy may be older by lines of sources and by a few percent, and no more.
  std::istringstream made(table.str());
  std::ifstream copy(RL_SOURCE_DIR "/docs/gpu/traffic.md");
  const auto now = kernel_rows(made), kept = kernel_rows(copy);
  for (const auto &[key, cells] : now) {
    const auto found = kept.find(key);
    const bool same = found != kept.end() && [&] {
      for (size_t i : {4, 6}) {
        if (std::abs(std::atof(cells[i].c_str()) - std::atof(found->second[i].c_str())) > 0.1) return false;
      }
      return cells[7] == found->second[7];
    }();
    EXPECT_TRUE(same) << "docs/gpu/traffic.md is out of date at " << key << ": copy build/cuda/traffic.md there";
  }
  for (const auto &[key, cells] : kept)
    EXPECT_TRUE(now.count(key)) << "docs/gpu/traffic.md is out of date at " << key << ", which is no more";
}

}  // namespace
}  // namespace rl::test
