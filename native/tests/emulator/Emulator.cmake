# Tests of the CUDA backend over the emulator, and of the emulator.

# Test programs whose ops the CUDA backend has: they run there too. A program that is not listed does not, and no test of a
# listed one is skipped.
set(cuda_tests adamw add attention attention_decode attention_sweep copy embedding fill gather_rows gelu_tanh head_cross_entropy head_full_kl head_logprob kv_append layer_norm linear lora nf4 pairwise_loss ppo rms_norm rope sample scalar_head scale swiglu weight_rows)

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

add_executable(device_test emulator/device_test.cpp)
target_link_libraries(device_test PRIVATE rlhf4j_test_support)
set_target_properties(device_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_emulated_test(device_test.emulated device_test RLHF4J_TEST_DEVICE=emulated)
add_emulated_test(device_test.checked device_test RLHF4J_TEST_DEVICE=emulated-checked)

# The checker's own test: the emulator and kernels that are wrong on purpose, without the library.
set_source_files_properties(kernels/broken.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
add_library(rlhf4j_broken_kernels OBJECT kernels/broken.cu)
target_link_libraries(rlhf4j_broken_kernels PRIVATE rlhf4j_cuda_options)
target_compile_definitions(rlhf4j_broken_kernels PRIVATE RL_KERNELS)
target_compile_options(rlhf4j_broken_kernels PRIVATE ${checked_kernel_options})
add_executable(checker_test emulator/checker_test.cpp main.cpp ../emulator/instrumentation.cpp
                            $<TARGET_OBJECTS:rlhf4j_emulator> $<TARGET_OBJECTS:rlhf4j_broken_kernels>)
target_link_libraries(checker_test PRIVATE rlhf4j_cuda_options GTest::gtest ${CMAKE_DL_LIBS})
set_target_properties(checker_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_test(NAME checker_test COMMAND checker_test)

# The interpreter's own test: single instructions, and kernels whose PTX is made wrong on purpose.
add_executable(ptx_test emulator/ptx_test.cpp emulator/ptx_attention_test.cpp $<TARGET_OBJECTS:rlhf4j_ptx> $<TARGET_OBJECTS:rlhf4j_emulator>
                        $<TARGET_OBJECTS:rlhf4j_cuda_host> $<TARGET_OBJECTS:rlhf4j_ptx_images80>)
target_link_libraries(ptx_test PRIVATE rlhf4j_cuda_options GTest::gtest ${CMAKE_DL_LIBS})
set_target_properties(ptx_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_test(NAME ptx_test COMMAND ptx_test)

# What native/build.sh --tests cuda builds, and no more.
list(TRANSFORM cuda_tests APPEND _test)
add_custom_target(cuda_tests DEPENDS ${cuda_tests} device_test checker_test ptx_test rlhf4j_cuda rlhf4j_emulated
                  rlhf4j_emulated-checked rlhf4j_ptx80 rlhf4j_ptx90)
