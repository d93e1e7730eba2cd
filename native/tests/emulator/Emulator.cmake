# Tests of the CUDA backend over the emulator, and of the emulator.

# Test programs whose ops the CUDA backend has: they run there too. A program that is not listed does not, and no test of a
# listed one is skipped.
set(cuda_tests adamw add attention attention_decode attention_sweep copy embedding fill gather_rows gelu_tanh head_cross_entropy head_full_kl head_logprob kv_append layer_norm linear lora_linear nf4 pairwise_loss ppo rms_norm rope sample scalar_head scale swiglu weight_rows)

# NAME.KIND runs PROGRAM on device KIND with the given environment.
function(add_emulated_test name program)
  add_test(NAME ${name} COMMAND ${program})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT "${ARGN}")
endfunction()

foreach(test IN LISTS cuda_tests)
  # Plain: threads and blocks in random order, asynchronous copies early or late.
  add_emulated_test(${test}_test.emulated ${test}_test RLHF4J_TEST_DEVICE=emulated RLHF4J_CUDA_BLOCKING=1
                    RLHF4J_EMULATOR_ORDER=random RLHF4J_EMULATOR_COPIES=random)
  # Checked: every access is looked at.
  add_emulated_test(${test}_test.checked ${test}_test RLHF4J_TEST_DEVICE=emulated-checked RLHF4J_CUDA_BLOCKING=1)
  # What nvcc made of the kernels, for both architectures.
  foreach(arch 80 90)
    add_emulated_test(${test}_test.ptx${arch} ${test}_test RLHF4J_TEST_DEVICE=ptx${arch} RLHF4J_CUDA_BLOCKING=1)
  endforeach()
endforeach()

# What comes after single ops: without RLHF4J_CUDA_BLOCKING.
foreach(kind emulated emulated-checked ptx80)
  string(REPLACE "emulated-" "" name ${kind})
  add_emulated_test(recording_test.${name} recording_test RLHF4J_TEST_DEVICE=${kind})
endforeach()
add_executable(device_test emulator/device_test.cpp)
target_link_libraries(device_test PRIVATE rlhf4j_test_support)
set_target_properties(device_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_emulated_test(device_test.emulated device_test RLHF4J_TEST_DEVICE=emulated)
add_emulated_test(device_test.checked device_test RLHF4J_TEST_DEVICE=emulated-checked)

# The checker's own test: the emulator and kernels that are wrong on purpose or of known traffic, without the library.
set_source_files_properties(kernels/broken.cu kernels/traffic.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
add_library(rlhf4j_test_kernels OBJECT kernels/broken.cu kernels/traffic.cu)
target_link_libraries(rlhf4j_test_kernels PRIVATE rlhf4j_cuda_options)
target_compile_definitions(rlhf4j_test_kernels PRIVATE RL_KERNELS)
target_compile_options(rlhf4j_test_kernels PRIVATE ${checked_kernel_options})
add_executable(checker_test emulator/checker_test.cpp emulator/traffic_test.cpp main.cpp ../emulator/instrumentation.cpp
                            $<TARGET_OBJECTS:rlhf4j_emulator> $<TARGET_OBJECTS:rlhf4j_test_kernels>)
target_link_libraries(checker_test PRIVATE rlhf4j_cuda_options GTest::gtest ${CMAKE_DL_LIBS})
set_target_properties(checker_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_test(NAME checker_test COMMAND checker_test)

# The interpreter's own test: single instructions, and kernels whose PTX is made wrong on purpose.
add_executable(ptx_test emulator/ptx_test.cpp emulator/ptx_attention_test.cpp emulator/ptx_lora_test.cpp $<TARGET_OBJECTS:rlhf4j_ptx> $<TARGET_OBJECTS:rlhf4j_emulator>
                        $<TARGET_OBJECTS:rlhf4j_emulated_libraries> $<TARGET_OBJECTS:rlhf4j_cuda_host> $<TARGET_OBJECTS:rlhf4j_ptx_images80>)
target_link_libraries(ptx_test PRIVATE rlhf4j_cuda_options GTest::gtest ${CMAKE_DL_LIBS})
set_target_properties(ptx_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_test(NAME ptx_test COMMAND ptx_test)

# Traffic of every kernel against its budget, and the table of it.
add_executable(traffic_report emulator/traffic_report.cpp)
target_link_libraries(traffic_report PRIVATE rlhf4j_test_support)
target_compile_definitions(traffic_report PRIVATE RL_BUILD_DIR="${PROJECT_BINARY_DIR}" RL_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
set_target_properties(traffic_report PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_emulated_test(traffic_report traffic_report RLHF4J_TEST_DEVICE=emulated-checked RLHF4J_CUDA_BLOCKING=1)

# Products by cuBLASLt, with the emulator's: its own test, and linear's and NF4's once more.
if(EXISTS "${cuda_home}/include/cublasLt.h")
  add_executable(cublaslt_test emulator/cublaslt_test.cpp $<TARGET_OBJECTS:rlhf4j_emulator> $<TARGET_OBJECTS:rlhf4j_emulated_libraries>
                               $<TARGET_OBJECTS:rlhf4j_cuda_host> $<TARGET_OBJECTS:rlhf4j_kernels_emulated>)
  target_link_libraries(cublaslt_test PRIVATE rlhf4j_cuda_options GTest::gtest ${CMAKE_DL_LIBS})
  target_compile_definitions(cublaslt_test PRIVATE "RL_CUBLASLT_FILE=\"${cuda_home}/lib64/libcublasLt.so\"")
  set_target_properties(cublaslt_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME cublaslt_test COMMAND cublaslt_test)
  set(with_cublaslt RLHF4J_TEST_DEVICE=emulated RLHF4J_CUDA_BLOCKING=1 RLHF4J_CUDA_GEMM=cublaslt RLHF4J_EMULATOR_CUBLASLT=1)
  foreach(test linear nf4)
    add_emulated_test(${test}_test.cublaslt ${test}_test ${with_cublaslt})
  endforeach()
  add_emulated_test(linear_test.cublaslt-tf32 "linear_test;--gtest_filter=*Tf32*:*Large*" ${with_cublaslt} RLHF4J_CUDA_TF32=1)
endif()

# Attention by cuDNN. The real library looks at the graphs if it finds a run time and a driver: one that knows an H100 by name, and
# one whose functions all fail.
if(EXISTS "${cuda_home}/include/cudnn_frontend.h")
  set(fake_dir "${CMAKE_BINARY_DIR}/tests/fake-cuda")
  file(READ "${cuda_home}/include/cuda.h" header)
  string(REGEX MATCHALL "cu[A-Z][A-Za-z0-9_]+" functions "${header}")
  set(fake "// Every function of the driver, failing. Written by Emulator.cmake.\nextern \"C\" {\n")
  list(REMOVE_DUPLICATES functions)
  foreach(function IN LISTS functions)
    string(APPEND fake "int ${function}() { return 100; }\n")
  endforeach()
  file(CONFIGURE OUTPUT "${fake_dir}/driver.cpp" CONTENT "${fake}}\n" @ONLY)
  add_library(fake_libcuda SHARED "${fake_dir}/driver.cpp")
  add_library(fake_libcudart SHARED emulator/fake_cudart.cpp)
  target_include_directories(fake_libcudart SYSTEM PRIVATE "${cuda_home}/include")
  foreach(fake fake_libcuda fake_libcudart)
    target_compile_options(${fake} PRIVATE -fvisibility=default)
  endforeach()
  set_target_properties(fake_libcuda PROPERTIES OUTPUT_NAME cuda SUFFIX .so.1 LIBRARY_OUTPUT_DIRECTORY "${fake_dir}")
  string(REGEX MATCH "#define CUDA_VERSION ([0-9]+)0[0-9][0-9]" release "${header}")
  set(release "${CMAKE_MATCH_1}")
  set_target_properties(fake_libcudart PROPERTIES OUTPUT_NAME cudart SUFFIX .so.${release} LIBRARY_OUTPUT_DIRECTORY "${fake_dir}")
  add_executable(cudnn_test emulator/cudnn_test.cpp $<TARGET_OBJECTS:rlhf4j_emulator> $<TARGET_OBJECTS:rlhf4j_emulated_libraries>
                            $<TARGET_OBJECTS:rlhf4j_cuda_host> $<TARGET_OBJECTS:rlhf4j_kernels_emulated>)
  target_link_libraries(cudnn_test PRIVATE rlhf4j_cuda_options GTest::gtest ${CMAKE_DL_LIBS})
  target_compile_definitions(cudnn_test PRIVATE "RL_CUDNN_FILE=\"${cuda_home}/lib64/libcudnn.so\"")
  set_target_properties(cudnn_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_emulated_test(cudnn_test cudnn_test "LD_LIBRARY_PATH=${fake_dir}:${cuda_home}/lib64")
  add_dependencies(cudnn_test fake_libcuda fake_libcudart)
endif()

# f32 by tensor cores.
add_emulated_test(linear_test.tf32-checked "linear_test;--gtest_filter=*Tf32*:*Large*:*Rows*"
                  RLHF4J_TEST_DEVICE=emulated-checked RLHF4J_CUDA_BLOCKING=1 RLHF4J_CUDA_TF32=1)
add_emulated_test(linear_test.tf32-ptx90 linear_test RLHF4J_TEST_DEVICE=ptx90 RLHF4J_CUDA_BLOCKING=1 RLHF4J_CUDA_TF32=1)

# Attention's backward with sums in no order.
set(unordered RLHF4J_CUDA_BLOCKING=1 RLHF4J_CUDA_DETERMINISTIC=0 RLHF4J_EMULATOR_ORDER=random RLHF4J_EMULATOR_COPIES=random)
foreach(kind emulated checked ptx80 ptx90)
  string(REPLACE checked emulated-checked device ${kind})
  add_emulated_test(attention_sweep_test.unordered-${kind} "attention_sweep_test;--gtest_filter=*AttentionSweep.*/1"
                    RLHF4J_TEST_DEVICE=${device} ${unordered})
endforeach()
add_emulated_test(attention_test.unordered-emulated "attention_test;--gtest_filter=*Attention.*" RLHF4J_TEST_DEVICE=emulated ${unordered})
