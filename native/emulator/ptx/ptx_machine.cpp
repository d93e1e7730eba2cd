// The scheduler: blocks one after the other, warps of a block in turn up to the next barrier.
#include "emulator/ptx/ptx_machine.h"

#include <algorithm>
#include <climits>

#include "emulator/fiber.h"
#include "emulator/ptx/warp.h"
#include "emulator/report.h"

namespace rl::emulator::ptx {
namespace {

constexpr int kMask = 14;  // the row of a member mask, as in warp_ops.cpp
constexpr size_t kMostShared = size_t{227} << 10;

struct Loaded {
  Module module;
  std::vector<std::vector<uint64_t>> variables;
  std::map<std::string, std::unique_ptr<Program>> programs;
};

class Launcher {
 public:
  Launcher(const Program &program, dim3 grid, dim3 block, size_t dynamic, void **values)
      : program_(program), grid_(grid), block_(block), settings_(settings_of_environment()) {
    parameters_.resize(program.parameter_bytes);
    for (size_t i = 0; i < program.parameter_sizes.size(); i++) {
      std::memcpy(&parameters_[program.parameter_offsets[i]], values[i], program.parameter_sizes[i]);
    }
    arrays_ = program.shared_arrays;
    if (program.has_dynamic) {
      for (auto &array : arrays_) array.bytes = array.bytes ? array.bytes : dynamic;
    }
    shared_bytes_ = program.shared_bytes + dynamic;
    threads_ = static_cast<size_t>(block.x) * block.y * block.z;
  }

  void run() {
    if (threads_ == 0 || threads_ > static_cast<size_t>(program_.most_threads) || shared_bytes_ > kMostShared) {
      error("bad-launch", nullptr, 0,
            std::to_string(threads_) + " threads a block, the kernel is made for " +
                std::to_string(program_.most_threads) + "; " + std::to_string(shared_bytes_) +
                " bytes of shared memory");
      return;
    }
    make_warps();
    std::vector<unsigned> order(static_cast<size_t>(grid_.x) * grid_.y * grid_.z);
    for (size_t i = 0; i < order.size(); i++) order[i] = static_cast<unsigned>(i);
    arrange(order);
    try {
      for (unsigned number : order) run_block(number);
    } catch (const Abandoned &) {
    }
  }

 private:
  template <class T>
  void arrange(std::vector<T> &order) const {
    if (settings_.order == Order::reverse) std::reverse(order.begin(), order.end());
    if (settings_.order == Order::random) {
      for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_number() % i]);
    }
  }

  void make_warps() {
    warps_.resize((threads_ + 31) / 32);
    for (size_t n = 0; n < warps_.size(); n++) {
      Warp &w = warps_[n];
      w.number = static_cast<int>(n);
      w.program = &program_;
      w.parameters = parameters_.data();
      w.when = settings_.copies;
      w.file.assign(program_.register_bytes / 8, ~uint64_t{0});  // NaNs in what nobody sets
      w.locals.assign(32 * program_.local_bytes, 0xff);
      for (const Program::Number &number : program_.numbers) {
        if (number.bytes == 8) {
          std::fill_n(w.row<uint64_t>(number.row), 32, number.value);
        } else {
          std::fill_n(w.row<uint32_t>(number.row), 32, static_cast<uint32_t>(number.value));
        }
      }
    }
  }

  uint32_t special(const std::string &name, uint32_t thread) const {
    const auto axis = [&](unsigned x, unsigned y, unsigned z) {
      return name.back() == 'x' ? x : name.back() == 'y' ? y : z;
    };
    const uint32_t lane = thread % 32;
    const std::string family = name.substr(0, name.find('.'));
    if (family == "%tid") return axis(thread % block_.x, thread / block_.x % block_.y, thread / (block_.x * block_.y));
    if (family == "%ctaid") return axis(this_block.x, this_block.y, this_block.z);
    if (family == "%ntid") return axis(block_.x, block_.y, block_.z);
    if (family == "%nctaid") return axis(grid_.x, grid_.y, grid_.z);
    if (name == "%laneid") return lane;
    if (name == "%warpid") return thread / 32;
    if (name == "%lanemask_eq") return 1u << lane;
    if (name == "%lanemask_lt") return (1u << lane) - 1;
    if (name == "%lanemask_le") return (2u << lane) - 1;
    if (name == "%lanemask_gt") return ~((2u << lane) - 1);
    return ~((1u << lane) - 1);  // %lanemask_ge
  }

  void run_block(unsigned number) {
    this_block = uint3{number % grid_.x, number / grid_.x % grid_.y, number / (grid_.x * grid_.y)};
    shared().clear(shared_bytes_);
    for (const auto &array : arrays_) shared().lend(array.at, array.bytes);
    for (Warp &w : warps_) {
      const uint32_t first = static_cast<uint32_t>(w.number) * 32;
      const uint32_t count = std::min<uint32_t>(32, static_cast<uint32_t>(threads_) - first);
      w.alive = count == 32 ? ~0u : (1u << count) - 1;
      w.groups.assign(1, Group{0, w.alive, Group::runs});
      w.copies.clear();
      std::fill_n(w.group_of_copies, 32, 0);
      for (const Program::Special &s : program_.specials) {
        for (uint32_t i = 0; i < 32; i++) w.row<uint32_t>(s.row)[i] = special(s.name, first + i);
      }
    }
    std::vector<Warp *> order;
    for (Warp &w : warps_) order.push_back(&w);
    do {
      arrange(order);
      for (Warp *w : order) run_warp(*w);
    } while (release_barrier());
  }

  /// After all warps went as far as they can: true if they wait at the barrier, and go on.
  bool release_barrier() {
    size_t waiting = 0, alive = 0;
    for (Warp &w : warps_) {
      alive += static_cast<size_t>(std::popcount(w.alive));
      for (const Group &g : w.groups) {
        if (g.state == Group::at_barrier) waiting += static_cast<size_t>(std::popcount(g.lanes));
      }
    }
    if (alive == 0) return false;
    int place = -1;
    for (Warp &w : warps_) {
      for (Group &g : w.groups) {
        const Op &op = program_.ops[static_cast<size_t>(g.state == Group::at_barrier ? g.at - 1 : g.at)];
        const int lane = std::countr_zero(g.lanes);
        if (waiting < alive && g.state == Group::waits_for_lanes) {
          w.fail("divergent-warp", op, lane, "other lanes of the mask never come");
        }
        if (alive < threads_) {
          w.fail("divergent-barrier", op, lane,
                 "only " + std::to_string(waiting) + " of " + std::to_string(threads_) + " threads reach it");
        }
        if (place >= 0 && g.at != place) w.fail("divergent-barrier", op, lane, "other threads wait at another one");
        place = g.at;
        g.state = Group::runs;
      }
    }
    shared().barrier();
    return true;
  }

  void run_warp(Warp &w) {
    while (Group *g = pick(w)) run_group(w, *g);
  }

  /// The group that has the lowest place and can run, with all others that are there; null if none can.
  Group *pick(Warp &w) {
    Group *lowest = nullptr;
    for (Group &g : w.groups) {
      if (g.state == Group::runs && (!lowest || g.at < lowest->at)) lowest = &g;
    }
    if (!lowest || w.groups.size() == 1) return lowest;
    Group merged = *lowest;
    std::erase_if(w.groups, [&](const Group &g) {
      const bool here = g.at == merged.at && g.state != Group::at_barrier;
      if (here) merged.lanes |= g.lanes;
      return here;
    });
    w.groups.push_back(merged);
    return &w.groups.back();
  }

  /// Runs lanes until they wait, end, diverge, or reach the place of others.
  void run_group(Warp &w, Group &g) {
    const bool alone = w.groups.size() == 1;
    int meet = INT_MAX;  // the next place ahead where others are
    for (const Group &other : w.groups) {
      if (other.state != Group::at_barrier && other.at > g.at) meet = std::min(meet, other.at);
    }
    const Op *ops = program_.ops.data();
    do {
      const Op &op = ops[g.at];
      uint32_t mask = g.lanes;
      if (op.guard >= 0) mask &= op.guard_not ? ~w.predicate(op.guard) : w.predicate(op.guard);
      if (op.kind == Kind::plain) {
        if (mask) op.execute(w, op, mask);
        g.at++;
      } else if (op.kind == Kind::branch && (mask == g.lanes || !mask)) {
        g.at = mask ? op.target : g.at + 1;
        if (!alone) return;  // there may be others now, behind or ahead
      } else if (!mask) {
        g.at++;
      } else if (op.kind == Kind::converged) {
        if (!has_members(w, g, op, mask)) return;
        op.execute(w, op, mask);
        g.at++;
      } else {
        return split(w, g, op, mask);
      }
    } while (g.at < meet);
  }

  /// Whether all lanes that an op needs are here; else the group waits for them.
  bool has_members(Warp &w, Group &g, const Op &op, uint32_t mask) {
    const int lane = std::countr_zero(mask);
    const uint32_t members = op.row[kMask] < 0 ? ~0u : w.row<uint32_t>(op.row[kMask])[lane];
    const uint32_t needed = members & (op.row[kMask] < 0 ? ~0u : w.alive);
    if ((mask & ~members) != 0) w.fail("divergent-warp", op, lane, "a lane runs it that its mask leaves out");
    if ((needed & ~mask) == 0) return true;
    if (needed & ~mask & (g.lanes | ~w.alive)) {
      w.fail("divergent-warp", op, lane, "lanes of the mask have ended or leave it out");
    }
    g.state = Group::waits_for_lanes;
    return false;
  }

  /// An op after which lanes go different ways; may move `g`.
  void split(Warp &w, Group &g, const Op &op, uint32_t mask) {
    const Group rest{g.at + 1, g.lanes & ~mask, Group::runs};
    if (op.kind == Kind::exit) {
      for (const Copy &copy : w.copies) {
        if (mask >> copy.lane & 1) {
          w.fail("copy-not-waited-for", op, static_cast<int>(copy.lane), "the thread ends with cp.async under way");
        }
      }
      w.alive &= ~mask;
      g = rest;
      if (!rest.lanes) std::erase_if(w.groups, [](const Group &group) { return !group.lanes; });
      return;
    }
    g.lanes = mask;
    g.at = op.kind == Kind::branch ? op.target : g.at + 1;
    if (op.kind == Kind::barrier) g.state = Group::at_barrier;
    if (rest.lanes) w.groups.push_back(rest);
  }

  const Program &program_;
  const dim3 grid_, block_;
  const Settings settings_;
  size_t threads_, shared_bytes_;
  std::vector<uint8_t> parameters_;
  std::vector<Program::SharedArray> arrays_;
  std::vector<Warp> warps_;
};

const Program *program_of(const void *kernel) { return static_cast<const Program *>(kernel); }

class PtxMachine final : public Machine {
 public:
  explicit PtxMachine(int compute_capability) : compute_capability_(compute_capability) {}
  std::string name() const override { return "interpreter of PTX"; }
  int compute_capability() const override { return compute_capability_; }

  void *load(const void *image) override {
    auto loaded = std::make_unique<Loaded>();
    begin_report("PTX");
    try {
      loaded->module = parse(static_cast<const char *>(image));
      Addresses addresses;
      for (const Variable &v : loaded->module.variables) {
        if (v.space != Space::global && v.space != Space::constant) continue;
        loaded->variables.emplace_back((v.bytes + 7) / 8 + 1);
        auto *memory = loaded->variables.back().data();
        if (!v.values.empty()) std::memcpy(memory, v.values.data(), v.bytes);
        addresses[v.name] = reinterpret_cast<uint64_t>(memory);
        global_blocks().lend(memory, v.bytes);
      }
      for (const Function &f : loaded->module.functions) {
        if (f.entry) loaded->programs[f.name] = decode(loaded->module, f, addresses);
      }
    } catch (const Error &e) {
      error("unknown", nullptr, 0, e.what());
      return nullptr;
    }
    return loaded.release();
  }
  void unload(void *module) override {
    auto *loaded = static_cast<Loaded *>(module);
    for (const auto &variable : loaded->variables) global_blocks().lend(variable.data(), 0);
    delete loaded;
  }
  const void *find(void *module, const char *name) override {
    const auto &programs = static_cast<Loaded *>(module)->programs;
    const auto found = programs.find(name);
    return found == programs.end() ? nullptr : found->second.get();
  }
  const std::string &name_of(const void *kernel) const override { return program_of(kernel)->name; }
  const std::vector<size_t> &parameter_sizes(const void *kernel) const override {
    return program_of(kernel)->parameter_sizes;
  }
  void run(const void *kernel, dim3 grid, dim3 block, size_t shared, void **values) override {
    begin_report(program_of(kernel)->name);
    Launcher(*program_of(kernel), grid, block, shared, values).run();
  }
  void lend(const void *block, size_t bytes) override { global_blocks().lend(block, bytes); }
  void written(const void *, size_t) override {}
  void copied(const void *, const void *, size_t) override {}
  bool is_lent(const void *p, size_t bytes) const override {
    return bytes == 0 || global_blocks().holds(reinterpret_cast<uint64_t>(p), bytes);
  }

 private:
  const int compute_capability_;
};

}  // namespace

bool is_special(const std::string &name) {
  static const std::vector<std::string> families = {"%tid", "%ntid", "%ctaid", "%nctaid"};
  static const std::vector<std::string> names = {"%laneid",      "%warpid",      "%lanemask_eq", "%lanemask_lt",
                                                 "%lanemask_le", "%lanemask_gt", "%lanemask_ge"};
  const size_t dot = name.find('.');
  const auto in = [](const auto &list, const std::string &s) {
    return std::find(list.begin(), list.end(), s) != list.end();
  };
  if (dot == std::string::npos) return in(names, name);
  const std::string axis = name.substr(dot);
  return in(families, name.substr(0, dot)) && (axis == ".x" || axis == ".y" || axis == ".z");
}

Machine &ptx_machine(int compute_capability) {
  static PtxMachine machine(compute_capability);
  return machine;
}

}  // namespace rl::emulator::ptx
