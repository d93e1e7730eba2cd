// Traffic: what kernels ask of global and shared memory, by source line. A warp's lanes at one instruction make one request.
// Lanes are fibers here and run one after the other, so the emulator puts them together: the n-th access of each lane at a place
// since the warp last met (a barrier or a collective of all its lanes) is one request. That is right as long as lanes pass a
// place equally often between two such meetings, or the late ones drop out (a loop's last turn, a guard).
//
// Global memory is moved in sectors of 32 bytes: counted are those that a request touches, and those that its bytes would fill.
// Shared memory has 32 banks of 4 bytes: an access of up to 4 bytes a lane is served in one wavefront unless lanes want different
// words of one bank; 8 bytes take two wavefronts (of 16 lanes), 16 bytes four (of 8 lanes; ldmatrix: its 8x8 matrices).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "emulator/block.h"

namespace rl::emulator::traffic {

/// Units: sectors in global memory, wavefronts in shared. `bytes` are those asked for, each once a request.
struct Counts {
  uint64_t requests = 0, bytes = 0, units = 0, ideal = 0;
  void operator+=(const Counts &other);
};

/// One request: addresses of `bytes` each, of the lanes in `mask`.
Counts global_request(const void *const *addresses, uint32_t mask, size_t bytes);
Counts shared_request(const void *const *addresses, uint32_t mask, size_t bytes);

struct Line {
  std::string place;  // "linear.cu:31"
  bool shared;
  Access kind;
  Counts counts;
};

/// Counting is off until somebody asks for it.
void count(bool on);
/// What was counted since the last call, the most units above the ideal first.
std::vector<Line> take();

// ---- told by the emulator
void note(const void *p, size_t bytes, Access kind, const char *file, int line, const void *code);
/// All lanes of a warp are here.
void warp_meets(int warp);
void block_meets();

/// After a launch: appends what it asked for to the file that RLHF4J_EMULATOR_TRAFFIC names, a line for each place, separated by
/// tabs: kernel, place, global or shared, read, write or atomic, requests, bytes, units, ideal.
void append_to_file(const std::string &kernel);

}  // namespace rl::emulator::traffic
