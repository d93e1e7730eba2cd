// Attention by cuDNN's graphs: softmax(scale q k^T) v over packed sequences, causal, grouped-query heads, bf16 or f16.
//
// cuDNN sees [B, H, S, D] with a ragged offset for each sequence, S being an upper limit: the number of rows, rounded up to a power
// of two so that batches of many lengths share a few plans (making one takes seconds: kernels are compiled at run time). Offsets
// and lengths are written by a kernel of ours, so nothing waits for the host. The backward is the deterministic one unless
// RLHF4J_CUDA_DETERMINISTIC=0.
// Its log-sum-exp is [T,H], ours [H,T]: turned round on the way in and out.
#include "cuda/cudnn.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <vector>

#include "cuda/attention_library.h"
#include "cuda/cuda_device.h"

#if __has_include(<cudnn.h>) && __has_include(<cudnn_frontend.h>)
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

namespace cudnn_frontend {
void *cudnn_dlhandle = nullptr;  // where its header looks functions up
}

namespace rl::cuda {
namespace {

namespace fe = cudnn_frontend;
using Node = std::shared_ptr<fe::graph::Tensor_attributes>;

/// The tensors of a graph; kOffsets + X: where sequences begin in X.
enum Tensor : int64_t {
  kQ,
  kK,
  kV,
  kO,
  kStatistics,
  kGradO,
  kGradQ,
  kGradK,
  kGradV,
  kTensors,
  kLengths = 50,
  kOffsets = 100
};

/// Strides by tensor. Statistics are [T,H].
RowStrides strides_of(const CudnnShape &s) {
  return {{s.q_stride, s.k_stride, s.v_stride, s.o_stride, s.heads, s.grad_o_stride, s.grad_q_stride, s.grad_k_stride,
           s.grad_v_stride}};
}

std::shared_ptr<fe::graph::Graph> describe(const CudnnShape &s) {
  auto graph = std::make_shared<fe::graph::Graph>();
  const fe::DataType_t type = s.dtype == RL_F16 ? fe::DataType_t::HALF : fe::DataType_t::BFLOAT16;
  graph->set_io_data_type(type)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const RowStrides strides = strides_of(s);
  auto place = [&](fe::graph::Tensor_attributes &t, Tensor id) {
    const bool is_key = id == kK || id == kV || id == kGradK || id == kGradV;
    const int64_t size = id == kStatistics ? 1 : s.size, stride = strides.of[id];
    const Node offsets = graph->tensor(fe::graph::Tensor_attributes()
                                           .set_uid(kOffsets + id)
                                           .set_dim({s.sequences + 1, 1, 1, 1})
                                           .set_stride({1, 1, 1, 1})
                                           .set_data_type(fe::DataType_t::INT64));
    t.set_uid(id)
        .set_dim({s.sequences, is_key ? s.kv_heads : s.heads, s.rows, size})
        .set_stride({s.rows * stride, size, stride, 1})
        .set_ragged_offset(offsets)
        .set_data_type(id == kStatistics ? fe::DataType_t::FLOAT : type);
  };
  auto input = [&](Tensor id) {
    fe::graph::Tensor_attributes t;
    place(t, id);
    return graph->tensor(t);
  };
  auto output = [&](const Node &t, Tensor id) {
    t->set_output(true);
    place(*t, id);
  };
  const Node lengths = graph->tensor(fe::graph::Tensor_attributes()
                                         .set_uid(kLengths)
                                         .set_dim({s.sequences, 1, 1, 1})
                                         .set_stride({1, 1, 1, 1})
                                         .set_data_type(fe::DataType_t::INT32));
  auto masked = [&](auto attributes) {
    return attributes.set_attn_scale(s.scale)
        .set_padding_mask(true)
        .set_seq_len_q(lengths)
        .set_seq_len_kv(lengths)
        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
  };
  const Node q = input(kQ), k = input(kK), v = input(kV);
  if (!s.backward) {
    const auto [o, statistics] =
        graph->sdpa(q, k, v, masked(fe::graph::SDPA_attributes().set_name("attention")).set_generate_stats(true));
    output(o, kO);
    output(statistics, kStatistics);
    return graph;
  }
  const Node o = input(kO), gradO = input(kGradO), statistics = input(kStatistics);
  const auto [gradQ, gradK, gradV] =
      graph->sdpa_backward(q, k, v, o, gradO, statistics,
                           masked(fe::graph::SDPA_backward_attributes().set_name("attention_backward"))
                               .set_deterministic_algorithm(s.deterministic)
                               .set_max_total_seq_len_q(s.rows)
                               .set_max_total_seq_len_kv(s.rows));
  output(gradQ, kGradQ);
  output(gradK, kGradK);
  output(gradV, kGradV);
  return graph;
}

/// The first reason that a message gives, without the calls that led to it.
std::string reason_in(const std::string &message) {
  const std::string mark = "Reason: ";
  const size_t at = message.find(mark), from = at == std::string::npos ? 0 : at + mark.size();
  return message.substr(from, message.find('\n', from) - from);
}

int64_t rounded_up(int64_t rows) {
  int64_t most = 128;
  while (most < rows) most *= 2;
  return most;
}

class Cudnn final : public AttentionLibrary {
 public:
  Cudnn() {
    const auto status = fe::detail::create_handle(&handle_);
    if (status != CUDNN_STATUS_SUCCESS) {
      fail(RL_UNSUPPORTED, "cuDNN does not start (%s); RLHF4J_CUDA_ATTENTION=own does without",
           fe::detail::get_error_string(status));
    }
  }
  ~Cudnn() override {
    plans_.clear();
    fe::detail::destroy_handle(handle_);
  }

  std::string name() const override {
    const size_t version = fe::detail::get_backend_version();
    return format("cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
  }

  void forward(CudaDevice &device, CUstream stream, const AttentionTensors &x) override {
    float *statistics = device.scratch<float>(x.lse.elements());
    run(device, stream, x, nullptr, statistics);
    cudnn_transpose(device, x.lse.f32(), statistics, x.q.rows(), x.q.shape[1]);
  }

  void backward(CudaDevice &device, CUstream stream, const AttentionTensors &x, const AttentionGradients &g) override {
    float *statistics = device.scratch<float>(x.lse.elements());
    cudnn_transpose(device, statistics, x.lse.f32(), x.q.shape[1], x.q.rows());
    run(device, stream, x, &g, statistics);
  }

 private:
  struct Plan {
    std::shared_ptr<fe::graph::Graph> graph;
    int64_t workspace;
  };

  void run(CudaDevice &device, CUstream stream, const AttentionTensors &x, const AttentionGradients *g,
           float *statistics) {
    const char *op = g ? "attention_backward" : "attention";
    if (x.q.dtype == RL_F32) {
      fail(RL_UNSUPPORTED,
           "%s: cuDNN's is for bf16 and f16, and these tensors are f32; RLHF4J_CUDA_ATTENTION=own has it", op);
    }
    if (x.window > 0) {
      fail(RL_UNSUPPORTED, "%s: a window of %d has no attention by cuDNN here; RLHF4J_CUDA_ATTENTION=own has it", op,
           x.window);
    }
    CudnnShape shape{g != nullptr,
                     x.q.dtype,
                     x.cu.elements() - 1,
                     rounded_up(x.q.rows()),
                     x.q.shape[1],
                     x.k.shape[1],
                     x.q.shape[2],
                     x.q.row_stride(),
                     x.k.row_stride(),
                     x.v.row_stride(),
                     x.o.row_stride(),
                     0,
                     0,
                     0,
                     0,
                     x.scale};
    std::unordered_map<int64_t, void *> tensors = {
        {kQ, x.q.data}, {kK, x.k.data}, {kV, x.v.data}, {kO, x.o.data}, {kStatistics, statistics}};
    if (g) {
      shape.grad_q_stride = g->q.row_stride();
      shape.grad_k_stride = g->k.row_stride();
      shape.grad_v_stride = g->v.row_stride();
      shape.grad_o_stride = g->o.row_stride();
      shape.deterministic = device.options().deterministic;
      tensors.insert({{kGradO, g->o.data}, {kGradQ, g->q.data}, {kGradK, g->k.data}, {kGradV, g->v.data}});
    }
    const int32_t count = g ? kTensors : kGradO;
    const int64_t ends = shape.sequences + 1;
    int64_t *offsets = device.scratch<int64_t>(count * ends);
    int32_t *lengths = device.scratch<int32_t>(shape.sequences);
    cudnn_offsets(device, offsets, lengths, x.cu, x.q.rows(), strides_of(shape), count);
    tensors[kLengths] = lengths;
    for (int64_t i = 0; i < count; i++) tensors[kOffsets + i] = offsets + i * ends;

    const Plan &plan = plan_for(shape, op);
    uint8_t *workspace = device.scratch<uint8_t>(plan.workspace);
    if (fe::detail::set_stream(handle_, reinterpret_cast<cudaStream_t>(stream)) != CUDNN_STATUS_SUCCESS) {
      fail(RL_INTERNAL, "cudnnSetStream failed");
    }
    auto done = plan.graph->execute(handle_, tensors, workspace);
    if (done.is_bad()) fail(RL_INTERNAL, "%s: cuDNN: %s", op, done.get_message().c_str());
  }

  const Plan &plan_for(const CudnnShape &shape, const char *op) {
    const auto known = plans_.find(shape);
    if (known != plans_.end()) return known->second;
    Plan plan{describe(shape), 0};
    std::string refused;
    try {
      auto made = plan.graph->build(handle_, {fe::HeurMode_t::A});
      if (made.is_good()) made = plan.graph->get_workspace_size(plan.workspace);
      if (made.is_bad()) refused = reason_in(made.get_message());
    } catch (const std::runtime_error &e) {  // libcudart is missing
      refused = e.what();
    }
    if (!refused.empty()) {
      fail(RL_UNSUPPORTED,
           "%s: cuDNN has none for %lld and %lld heads of %lld on this GPU (%s); "
           "RLHF4J_CUDA_ATTENTION=own does without",
           op, static_cast<long long>(shape.heads), static_cast<long long>(shape.kv_heads),
           static_cast<long long>(shape.size), refused.c_str());
    }
    return plans_[shape] = plan;
  }

  cudnnHandle_t handle_ = nullptr;
  std::map<CudnnShape, Plan> plans_;
};

}  // namespace

std::string load_cudnn(const char *file) {
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library) return dlerror();
  using Version = size_t();
  const auto version = reinterpret_cast<Version *>(dlsym(library, "cudnnGetVersion"));
  if (!version) return format("%s has no cudnnGetVersion", file);
  if (version() / 10000 != CUDNN_MAJOR)
    return format("%s is of release %zu, and this build needs %d", file, version() / 10000, CUDNN_MAJOR);
  fe::cudnn_dlhandle = library;
  return "";
}

std::string cudnn_refuses(const CudnnShape &shape, const std::string &gpu, int32_t capability) {
  auto properties = std::make_shared<fe::DeviceProperties>();
  auto status = properties->deserialize({gpu.begin(), gpu.end()});
  const auto graph = describe(shape);
  graph->set_device_properties(properties);
  graph->set_sm_version(capability);
  if (status.is_good()) status = graph->validate();
  if (status.is_good()) status = graph->build_operation_graph();
  if (status.is_good()) status = graph->create_execution_plans({fe::HeurMode_t::A});
  if (status.is_good()) status = graph->check_support();
  return status.is_good() ? "" : "refused: " + reason_in(status.get_message());
}

std::unique_ptr<AttentionLibrary> open_cudnn(std::string &why_not) {
  static const std::string failed = [] {
    const char *named = std::getenv("RLHF4J_CUDA_CUDNN");
    const std::string file = named && *named ? named : "libcudnn.so." + std::to_string(CUDNN_MAJOR);
    return load_cudnn(file.c_str());
  }();
  why_not = failed;
  if (!failed.empty()) return nullptr;
  return std::make_unique<Cudnn>();
}

}  // namespace rl::cuda

#else

namespace rl::cuda {

std::unique_ptr<AttentionLibrary> open_cudnn(std::string &why_not) {
  why_not = "this build has none, since the CUDA Toolkit it was made with had no cudnn_frontend.h";
  return nullptr;
}

}  // namespace rl::cuda

#endif
