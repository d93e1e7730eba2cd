// resource_table TABLE REPORT...: what each kernel takes of a multiprocessor, as a table, from the reports of nvcc_keep.sh.
// Status 1 and a sentence for a kernel that spills, and for one of which fewer blocks fit on a multiprocessor than declared
// (the second number of its launch bounds, or occupancy.def). No table is written then.
#include <cuda_occupancy.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Kernel {
  std::string file;
  int threads = 0, declared = 1, registers = 0, barriers = 0, shared = 0, stack = 0, spills = 0;
};
using Kernels = std::map<std::pair<std::string, int>, Kernel>;  // by name and architecture

struct Gpu {
  int arch, shared;  // shared: KiB a multiprocessor
  const char *name;
};
// CUDA C++ Programming Guide, "Technical Specifications per Compute Capability". Common to all of these: 65536 registers and 2048
// threads a multiprocessor, 1024 threads a block, 48 KiB of static shared memory a block, 1 KiB a block for the driver.
constexpr Gpu kGpus[] = {{80, 164, "A100"}, {90, 228, "H100"}, {100, 228, "B200"}};
constexpr int kMaxThreads = 2048;

struct Promise {
  const char *prefix;
  int arch, blocks;
};
constexpr Promise kPromises[] = {
#define RL_BLOCKS(prefix, arch, blocks) {#prefix, arch, blocks},
#include "cuda/occupancy.def"
#undef RL_BLOCKS
};

void read_report(const std::filesystem::path &path, Kernels &kernels) {
  std::ifstream in(path);
  Kernel ignored, *kernel = &ignored;
  int arch = 0, a = 0, b = 0, c = 0;
  char name[256];
  for (std::string text; std::getline(in, text);) {
    const char *line = text.c_str();
    if (std::sscanf(line, "ptxas info : Compiling entry function '%255[^']' for 'sm_%d", name, &arch) == 2) {
      kernel = &kernels[{name, arch}];
      kernel->file = path.stem().string() + ".cu";
    } else if (std::sscanf(line, " %d bytes stack frame, %d bytes spill stores, %d bytes spill loads", &a, &b, &c) ==
               3) {
      kernel->stack += a;  // += since functions that are not inlined have lines of their own
      kernel->spills += b + c;
    } else if (std::sscanf(line, "ptxas info : Used %d registers, used %d barriers", &a, &b) >= 1) {
      kernel->registers = a;
      kernel->barriers = b;
      const size_t shared = text.find(" bytes smem");
      if (shared != std::string::npos) kernel->shared = std::stoi(text.substr(text.rfind(' ', shared - 1)));
    } else if (std::sscanf(line, ".target sm_%d", &arch) == 1) {
      kernel = &ignored;
    } else if (std::sscanf(line, ".visible .entry %255[^(]", name) == 1) {
      const auto found = kernels.find({name, arch});  // none: an architecture that is embedded as PTX alone
      kernel = found == kernels.end() ? &ignored : &found->second;
    } else if (std::sscanf(line, ".maxntid %d", &a) == 1) {
      kernel->threads = a;  // KERNEL's bounds have one dimension
    } else if (std::sscanf(line, ".minnctapersm %d", &a) == 1) {
      kernel->declared = a;
    }
  }
}

/// Blocks on a multiprocessor at a time, or -1 for a GPU that is not in the list.
int blocks_per_multiprocessor(int arch, const Kernel &kernel) {
  for (const Gpu &gpu : kGpus) {
    if (gpu.arch != arch) continue;
    cudaOccDeviceProp device;
    device.computeMajor = arch / 10;
    device.computeMinor = arch % 10;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = kMaxThreads;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 << 10;
    device.sharedMemPerMultiprocessor = size_t(gpu.shared) << 10;
    device.sharedMemPerBlockOptin = size_t(gpu.shared - 1) << 10;
    device.reservedSharedMemPerBlock = 1 << 10;
    device.numSms = 1;
    cudaOccFuncAttributes function;
    function.maxThreadsPerBlock = kernel.threads;
    function.numRegs = kernel.registers;
    function.sharedSizeBytes = size_t(kernel.shared);
    function.numBlockBarriers = kernel.barriers;
    const cudaOccDeviceState state;
    cudaOccResult result;
    const auto error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, kernel.threads, 0);
    return error == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : 0;
  }
  return -1;
}

/// Says what is wrong with the kernel; false if something is.
bool is_as_declared(const std::string &name, int arch, const Kernel &kernel, int blocks) {
  const std::string subject = "kernels/" + kernel.file + ": " + name + " on sm_" + std::to_string(arch);
  int declared = kernel.declared;
  for (const Promise &promise : kPromises)
    if (promise.arch == arch && name.starts_with(promise.prefix)) declared = std::max(declared, promise.blocks);
  const bool fits = blocks < 0 || blocks >= declared;
  if (kernel.spills) std::cerr << subject << " spills registers: " << kernel.spills << " bytes.\n";
  if (kernel.threads == 0) std::cerr << subject << " has no launch bounds.\n";
  if (!fits) {
    std::cerr << subject << ": " << blocks << " blocks fit on a multiprocessor, and " << declared << " are declared ("
              << kernel.registers << " registers, " << kernel.threads << " threads, " << kernel.shared
              << " bytes of static shared memory).\n";
  }
  return kernel.spills == 0 && kernel.threads != 0 && fits;
}

}  // namespace

int main(int argc, char **argv) {
  Kernels kernels;
  for (int i = 2; i < argc; i++) read_report(argv[i], kernels);
  bool good = argc > 2 && !kernels.empty();
  if (!good) std::cerr << "resource_table TABLE REPORT...: no kernels in the reports.\n";

  std::map<std::string, std::vector<std::pair<std::string, std::string>>>
      files;  // rows: head (name, architectures) and figures
  for (const auto &[key, kernel] : kernels) {
    const auto &[name, arch] = key;
    const int blocks = blocks_per_multiprocessor(arch, kernel);
    good &= is_as_declared(name, arch, kernel, blocks);
    std::string figures;
    for (int figure : {kernel.threads, kernel.registers, kernel.shared, kernel.stack, kernel.spills})
      figures += std::to_string(figure) + " | ";
    figures += blocks < 0
                   ? "? | ?"
                   : std::to_string(blocks) + " | " + std::to_string(100 * blocks * kernel.threads / kMaxThreads) + "%";
    auto &rows = files[kernel.file];
    const std::string head = "`" + name + "` | ";
    if (!rows.empty() && rows.back().first.starts_with(head) && rows.back().second == figures)
      rows.back().first += ", " + std::to_string(arch);
    else
      rows.emplace_back(head + std::to_string(arch), figures);
  }
  for (const Promise &promise : kPromises) {
    const auto kept = [&](const auto &kernel) { return kernel.first.first.starts_with(promise.prefix); };
    if (std::any_of(kernels.begin(), kernels.end(), kept)) continue;
    std::cerr << "occupancy.def: no kernel's name begins with " << promise.prefix << ".\n";
    good = false;
  }
  if (!good) return 1;

  std::ofstream out(argv[1]);
  out << "# Resources of the kernels\n\n"
         "Written by the build (`native/cuda/resource_table.cpp`), from what `ptxas -v` says. Threads are the launch "
         "bounds; shared memory is\n"
         "static, in bytes a block, as are stack and spills a thread. Blocks on a multiprocessor and occupancy are "
         "`cuda_occupancy.h`'s, by\n"
         "registers, threads and static shared memory, at most; dynamic shared memory is asked for by the launcher, "
         "and not counted here.\n"
         "Architectures:";
  for (const Gpu &gpu : kGpus)
    out << " " << gpu.arch << " = " << gpu.name << (&gpu == std::end(kGpus) - 1 ? ".\n" : ",");
  for (const auto &[file, rows] : files) {
    out << "\n## " << file
        << "\n\n| kernel | sm | threads | registers | shared | stack | spills | blocks | occupancy |\n"
        << "|---|---|---:|---:|---:|---:|---:|---:|---:|\n";
    for (const auto &[head, figures] : rows) out << "| " << head << " | " << figures << " |\n";
  }
  return out.flush() ? 0 : 1;
}
