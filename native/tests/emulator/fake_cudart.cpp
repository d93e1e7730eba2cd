// The CUDA run time as far as cuDNN's headers ask it for the GPU at hand: an H100. cudnn_test loads it as libcudart.
#include <cuda_runtime_api.h>

#undef cudaGetDeviceProperties

extern "C" {
cudaError_t cudaGetDevice(int *device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
  *properties = {};
  properties->major = 9;
  properties->multiProcessorCount = 132;
  return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t) { return "an error"; }
}
