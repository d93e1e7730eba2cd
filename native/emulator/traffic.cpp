#include "emulator/traffic.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <tuple>
#include <unordered_map>

#include "emulator/memory.h"
#include "emulator/report.h"

namespace rl::emulator::traffic {
namespace {

constexpr uintptr_t kSector = 32, kBank = 4, kBanks = 32;

/// A request that lanes still may join.
struct Request {
  uint32_t mask = 0;
  const void *addresses[32];
};
/// What a warp did at a place since it last met.
struct Pending {
  uint32_t times[32] = {};  // by lane
  std::vector<Request> requests;
};
struct Key {
  const void *where;  // the file's name or the instruction
  int line;
  bool shared;
  Access kind;
  uint32_t bytes;
  bool operator==(const Key &) const = default;
};
struct Hash {
  size_t operator()(const Key &key) const {
    return (reinterpret_cast<size_t>(key.where) * 31 + static_cast<size_t>(key.line)) * 256 + key.bytes * 8 +
           static_cast<size_t>(key.kind) * 2 + key.shared;
  }
};
struct Place {
  Key key;
  bool by_code;
  Counts counts;
  Pending by_warp[32];
};

bool counting = std::getenv("RLHF4J_EMULATOR_TRAFFIC") != nullptr;
std::unordered_map<Key, Place *, Hash> &places = *new std::unordered_map<Key, Place *, Hash>;
std::vector<std::vector<Place *>> &pending_places = *new std::vector<std::vector<Place *>>(32);

}  // namespace

void Counts::operator+=(const Counts &other) {
  requests += other.requests;
  bytes += other.bytes;
  units += other.units;
  ideal += other.ideal;
}

Counts global_request(const void *const *addresses, uint32_t mask, size_t bytes) {
  uintptr_t sectors[64];
  uint32_t asked[64];  // bytes of each sector
  size_t count = 0;
  for (uint32_t left = mask; left; left &= left - 1) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(addresses[std::countr_zero(left)]), end = begin + bytes;
    for (uintptr_t at = begin; at < end;) {
      const uintptr_t sector = at / kSector, from = at % kSector, to = std::min(kSector, from + (end - at));
      size_t i = count;  // neighbours ask for the same
      while (i > 0 && sectors[i - 1] != sector) i--;
      if (i == 0) {
        sectors[count] = sector;
        asked[count] = 0;
        i = ++count;
      }
      asked[i - 1] |= static_cast<uint32_t>(((uint64_t{1} << (to - from)) - 1) << from);
      at += to - from;
    }
  }
  Counts counts{1, 0, count, 0};
  for (size_t i = 0; i < count; i++) counts.bytes += static_cast<uint64_t>(std::popcount(asked[i]));
  counts.ideal = (counts.bytes + kSector - 1) / kSector;
  return counts;
}

Counts shared_request(const void *const *addresses, uint32_t mask, size_t bytes) {
  const int lanes = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;  // of one wavefront
  Counts counts{1, 0, 0, 0};
  for (int first = 0; first < 32; first += lanes) {
    uintptr_t words[kBanks][32];
    size_t count[kBanks] = {}, most = 0;
    for (int lane = first; lane < first + lanes; lane++) {
      if (!(mask >> lane & 1)) continue;
      const uintptr_t begin = reinterpret_cast<uintptr_t>(addresses[lane]);
      for (uintptr_t word = begin / kBank; word <= (begin + bytes - 1) / kBank; word++) {
        const size_t bank = word % kBanks;
        size_t &n = count[bank];
        if (std::find(words[bank], words[bank] + n, word) != words[bank] + n) continue;
        words[bank][n++] = word;
        most = std::max(most, n);
        counts.bytes += kBank;
      }
    }
    counts.units += most;
    counts.ideal += most > 0;
  }
  return counts;
}

void count(bool on) { counting = on; }

void note(const void *p, size_t bytes, Access kind, const char *file, int line, const void *code) {
  if (!counting) return;
  const bool shared = shared_memory().holds(p);
  if (!shared && !global_memory().holds(p)) return;
  const Key key{file ? file : code, line, shared, kind, static_cast<uint32_t>(bytes)};
  Place *&place = places[key];
  if (!place) place = new Place{key, !file, {}, {}};
  const size_t warp = static_cast<size_t>(this_thread->number / 32),
               lane = static_cast<size_t>(this_thread->number % 32);
  Pending &pending = place->by_warp[warp];
  if (pending.requests.empty()) pending_places[warp].push_back(place);
  const size_t time = pending.times[lane]++;
  if (time >= pending.requests.size()) pending.requests.resize(time + 1);
  Request &request = pending.requests[time];
  request.mask |= 1u << lane;
  request.addresses[lane] = p;
}

void warp_meets(int warp) {
  if (!counting) return;
  auto &list = pending_places[static_cast<size_t>(warp)];
  for (Place *place : list) {
    Pending &pending = place->by_warp[warp];
    for (const Request &r : pending.requests) {
      place->counts += place->key.shared ? shared_request(r.addresses, r.mask, place->key.bytes)
                                         : global_request(r.addresses, r.mask, place->key.bytes);
    }
    pending.requests.clear();
    std::fill(std::begin(pending.times), std::end(pending.times), 0u);
  }
  list.clear();
}

void block_meets() {
  for (int warp = 0; warp < 32; warp++) warp_meets(warp);
}

std::vector<Line> take() {
  std::vector<Line> lines;
  std::vector<const void *> codes;
  for (const auto &[key, place] : places) {
    if (place->by_code && place->counts.requests) codes.push_back(key.where);
  }
  name_places(codes);
  for (const auto &[key, place] : places) {
    if (!place->counts.requests) continue;
    const std::string name = place->by_code ? rl::emulator::place(nullptr, 0, key.where)
                                            : rl::emulator::place(static_cast<const char *>(key.where), key.line);
    const auto same = std::find_if(lines.begin(), lines.end(), [&, &key = key](const Line &line) {
      return line.place == name && line.shared == key.shared && line.kind == key.kind;
    });
    if (same == lines.end()) {
      lines.push_back({name, key.shared, key.kind, place->counts});
    } else {
      same->counts += place->counts;
    }
    place->counts = {};
  }
  const auto lost = [](const Line &line) { return line.counts.units - line.counts.ideal; };
  std::sort(lines.begin(), lines.end(), [&](const Line &a, const Line &b) {
    return std::tuple(lost(b), a.place, a.shared, a.kind) < std::tuple(lost(a), b.place, b.shared, b.kind);
  });
  return lines;
}

void append_to_file(const std::string &kernel) {
  const char *path = std::getenv("RLHF4J_EMULATOR_TRAFFIC");
  if (!path || !counting) return;
  std::FILE *file = std::fopen(path, "a");
  if (!file) return;
  static const char *const kinds[] = {"read", "write", "atomic"};
  for (const Line &line : take()) {
    const Counts &c = line.counts;
    std::fprintf(file, "%s\t%s\t%s\t%s\t%lu\t%lu\t%lu\t%lu\n", kernel.c_str(), line.place.c_str(),
                 line.shared ? "shared" : "global", kinds[static_cast<int>(line.kind)], c.requests, c.bytes, c.units,
                 c.ideal);
  }
  std::fclose(file);
}

}  // namespace rl::emulator::traffic
