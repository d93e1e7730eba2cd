# The CUDA backend: librlhf4j_cuda beside librlhf4j, and (with the tests) the same host code over the emulator.
# An installed CUDA Toolkit >= 12.4 is used where CUDA_HOME, CUDA_PATH, PATH or /usr/local/cuda lead to one; else
# native/cuda/toolkit.sh brings the compiler, and cuBLAS, cuDNN and NCCL unless RLHF4J_CUDA_LIBRARIES is off. nvcc is called by commands of our own: kernels become images that
# the library carries, so CMake's CUDA language (which Debian's CMake 3.25 has not for CUDA 13) is not needed.

option(RLHF4J_CUDA_LIBRARIES "Where no CUDA Toolkit is installed, fetch cuBLAS, cuDNN and NCCL beside the compiler" ON)

function(find_toolkit out)
  find_program(RLHF4J_NVCC nvcc HINTS "$ENV{CUDA_HOME}/bin" "$ENV{CUDA_PATH}/bin" PATHS /usr/local/cuda/bin)
  if(RLHF4J_NVCC)
    execute_process(COMMAND "${RLHF4J_NVCC}" --version OUTPUT_VARIABLE text)
    string(REGEX MATCH "release ([0-9.]+)" _ "${text}")
    if(CMAKE_MATCH_1 VERSION_GREATER_EQUAL 12.4)
      get_filename_component(home "${RLHF4J_NVCC}" REALPATH)
      get_filename_component(home "${home}/../.." ABSOLUTE)
      message(STATUS "CUDA Toolkit ${CMAKE_MATCH_1}: ${home}")
      set(${out} "${home}" PARENT_SCOPE)
      return()
    endif()
    message(STATUS "CUDA Toolkit ${CMAKE_MATCH_1} is older than 12.4, and passed over")
  endif()
  set(part "")
  if(NOT RLHF4J_CUDA_LIBRARIES)
    set(part --compiler-only)
  endif()
  execute_process(COMMAND "${PROJECT_SOURCE_DIR}/native/cuda/toolkit.sh" ${part} RESULT_VARIABLE status OUTPUT_VARIABLE text
                  ERROR_VARIABLE text)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${text}")
  endif()
  set(home "${PROJECT_SOURCE_DIR}/build/cuda-toolkit/home")
  message(STATUS "CUDA Toolkit: ${home}")
  set(${out} "${home}" PARENT_SCOPE)
endfunction()
find_toolkit(cuda_home)

set(RLHF4J_CUDA_ARCHITECTURES 80 90 100 CACHE STRING "GPU architectures to compile for; the last one as PTX too")

# ---- kernels: one image per file, embedded by the assembler
file(GLOB cuda_kernels CONFIGURE_DEPENDS src/cuda/kernels/*.cu)
set(gencode "")
foreach(arch IN LISTS RLHF4J_CUDA_ARCHITECTURES)
  list(APPEND gencode "-gencode=arch=compute_${arch},code=sm_${arch}")
  set(newest ${arch})
endforeach()
list(APPEND gencode "-gencode=arch=compute_${newest},code=compute_${newest}")

set(image_dir "${CMAKE_CURRENT_BINARY_DIR}/cuda")
set(nvcc_options -std=c++20 -O3 --generate-line-info -ccbin "${CMAKE_CXX_COMPILER}" -Werror all-warnings -DRL_KERNELS
                 "-I${CMAKE_CURRENT_SOURCE_DIR}/src" "-I${CMAKE_CURRENT_SOURCE_DIR}/include")

# Every kernel file becomes NAME.fatbin, and beside it NAME.ptxas, what ptxas says of it, and NAME.ARCH.ptx, which the fatbin's part
# for ARCH was made of.
file(MAKE_DIRECTORY "${image_dir}")
foreach(source IN LISTS cuda_kernels)
  get_filename_component(name "${source}" NAME_WE)
  file(STRINGS "${source}" kernels REGEX "KERNEL(_BLOCKS)?\\(")
  if(NOT kernels)
    continue()  # launchers only
  endif()
  set(image "${image_dir}/${name}")
  list(TRANSFORM RLHF4J_CUDA_ARCHITECTURES REPLACE "(.+)" "${image}.\\1.ptx" OUTPUT_VARIABLE ptx)
  add_custom_command(
    OUTPUT "${image}.fatbin" "${image}.ptxas" ${ptx}
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/cuda/nvcc_keep.sh" "${image}" "${cuda_home}/bin/nvcc" -fatbin ${nvcc_options} ${gencode} -Xptxas -v
            -MD -MF "${image}.d" -MT "${image}.fatbin" "${source}" -o "${image}.fatbin"
    DEPENDS "${source}" "${CMAKE_CURRENT_SOURCE_DIR}/cuda/nvcc_keep.sh"
    DEPFILE "${image}.d"
    COMMENT "nvcc ${name}"
    VERBATIM)
  list(APPEND images "${name}")
  list(APPEND reports "${image}.ptxas")
endforeach()
# With make each target that needs an image would compile it, and several at once.
add_custom_target(rlhf4j_images DEPENDS ${reports})

# Writes SUFFIX.cpp, where FUNCTION returns every NAME.SUFFIX.
function(embed_images suffix header function)
  set(files "")
  set(assembly "")
  set(declarations "")
  set(entries "")
  foreach(name IN LISTS images)
    set(image "${image_dir}/${name}.${suffix}")
    list(APPEND files "${image}")
    string(APPEND assembly ".balign 64\nrlhf4j_image_${name}:\n.incbin \\\"${image}\\\"\n.byte 0\n")
    string(APPEND declarations "extern \"C\" const char rlhf4j_image_${name}[];\n")
    string(APPEND entries "      {\"${name}.cu\", rlhf4j_image_${name}},\n")
  endforeach()
  string(REPLACE "\n" "\\n\"\n    \"" assembly ".section .rodata\n${assembly}.text")
  string(REGEX REPLACE "::[a-z_]+$" "" namespace "${function}")
  string(REGEX REPLACE "^.*::" "" function "${function}")
  file(CONFIGURE OUTPUT "${image_dir}/${suffix}.cpp" @ONLY CONTENT [[
// The images of all kernels. Written by native/cmake/Cuda.cmake.
#include "@header@"

asm("@assembly@\n");

@declarations@
namespace @namespace@ {

const cuda::KernelImages &@function@();
const cuda::KernelImages &@function@() {
  static const cuda::KernelImages images = {
@entries@  };
  return images;
}

}  // namespace @namespace@
]])
  set_source_files_properties("${image_dir}/${suffix}.cpp" PROPERTIES OBJECT_DEPENDS "${files}")
endfunction()

embed_images(fatbin cuda/cuda_device.h rl::cuda::embedded_images)

# ---- host code: launchers (the second half of each kernel file) and the device. One object for the GPU and for the emulator.
file(GLOB cuda_sources CONFIGURE_DEPENDS src/cuda/*.cpp)
list(FILTER cuda_sources EXCLUDE REGEX "/plugin\\.cpp$")
set_source_files_properties(${cuda_kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")

# Templates of cudnn-frontend, slow to optimise; what they do is done once per shape.
set_source_files_properties(src/cuda/cudnn.cpp PROPERTIES COMPILE_OPTIONS -O1)

add_library(rlhf4j_cuda_options INTERFACE)
target_include_directories(rlhf4j_cuda_options INTERFACE include src ${CMAKE_CURRENT_SOURCE_DIR})
target_include_directories(rlhf4j_cuda_options SYSTEM INTERFACE "${cuda_home}/include")
target_link_libraries(rlhf4j_cuda_options INTERFACE rlhf4j_options)

add_library(rlhf4j_cuda_host OBJECT ${cuda_sources} ${cuda_kernels} src/dispatch/error.cpp)
target_link_libraries(rlhf4j_cuda_host PRIVATE rlhf4j_cuda_options)

function(add_backend name)
  add_library(rlhf4j_${name} SHARED $<TARGET_OBJECTS:rlhf4j_cuda_host> ${ARGN})
  target_link_libraries(rlhf4j_${name} PRIVATE rlhf4j_cuda_options ${CMAKE_DL_LIBS})
  target_link_options(rlhf4j_${name} PRIVATE "-Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cuda/exports.map" -Wl,--no-undefined)
  set_target_properties(rlhf4j_${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${lib_dir}")
endfunction()

add_backend(cuda src/cuda/plugin.cpp "${image_dir}/fatbin.cpp")

# cuBLASLt and cuDNN are opened at run time: those of this toolkit if it has them, through a link, else the system's.
set_target_properties(rlhf4j_cuda PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/cuda")
file(REMOVE_RECURSE "${lib_dir}/cuda")
file(MAKE_DIRECTORY "${lib_dir}")
file(CREATE_LINK "${cuda_home}/lib64" "${lib_dir}/cuda" SYMBOLIC)

# ---- what each kernel takes of a multiprocessor: a table, and an error where a kernel spills or too few blocks fit
add_executable(rlhf4j_resource_table cuda/resource_table.cpp)
target_link_libraries(rlhf4j_resource_table PRIVATE rlhf4j_cuda_options)
set(resources "${PROJECT_BINARY_DIR}/resources.md")
add_custom_command(OUTPUT "${resources}" COMMAND rlhf4j_resource_table "${resources}" ${reports} DEPENDS ${reports}
                   COMMENT "Resources of the kernels" VERBATIM)
add_custom_target(rlhf4j_cuda_resources DEPENDS "${resources}")
add_dependencies(rlhf4j_cuda_resources rlhf4j_images)
add_dependencies(rlhf4j_cuda rlhf4j rlhf4j_cuda_resources)

# ---- the emulator, for tests: the same kernels as C++, plain and with every access checked
if(RLHF4J_TESTS AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(RLHF4J_EMULATOR ON)
  file(GLOB emulator_sources CONFIGURE_DEPENDS emulator/*.cpp)
  list(FILTER emulator_sources EXCLUDE REGEX "/(plugin|instrumentation|cublaslt)\\.cpp$")
  add_library(rlhf4j_emulator OBJECT ${emulator_sources})
  target_link_libraries(rlhf4j_emulator PRIVATE rlhf4j_cuda_options)
  add_library(rlhf4j_emulated_libraries OBJECT emulator/cublaslt.cpp)
  target_link_libraries(rlhf4j_emulated_libraries PRIVATE rlhf4j_cuda_options)

  # Kernels read words as other types (packed halves), and a file does not use every device function.
  set(kernel_options -fno-strict-aliasing -Wno-unused-function -Wno-unknown-pragmas)
  # The instrumentation alone: its calls go to emulator/instrumentation.cpp, and libtsan is not linked.
  set(checked_kernel_options ${kernel_options} -O1 -g -fsanitize=thread --param=tsan-instrument-func-entry-exit=0)

  foreach(kind emulated emulated-checked)
    add_library(rlhf4j_kernels_${kind} OBJECT ${cuda_kernels})
    target_link_libraries(rlhf4j_kernels_${kind} PRIVATE rlhf4j_cuda_options)
    target_compile_definitions(rlhf4j_kernels_${kind} PRIVATE RL_KERNELS)
    add_backend(${kind} $<TARGET_OBJECTS:rlhf4j_kernels_${kind}> $<TARGET_OBJECTS:rlhf4j_emulator> $<TARGET_OBJECTS:rlhf4j_emulated_libraries>
                emulator/plugin.cpp)
    add_dependencies(rlhf4j_${kind} rlhf4j)
  endforeach()
  target_compile_options(rlhf4j_kernels_emulated PRIVATE ${kernel_options} -O2)
  target_compile_options(rlhf4j_kernels_emulated-checked PRIVATE ${checked_kernel_options})
  target_sources(rlhf4j_emulated-checked PRIVATE emulator/instrumentation.cpp)
  target_compile_definitions(rlhf4j_emulated PRIVATE RL_CHECKED=0)
  target_compile_definitions(rlhf4j_emulated-checked PRIVATE RL_CHECKED=1)

  # Their PTX, by an interpreter: what nvcc made of the kernels, inline PTX included.
  file(GLOB ptx_sources CONFIGURE_DEPENDS emulator/ptx/*.cpp)
  list(FILTER ptx_sources EXCLUDE REGEX "/plugin\\.cpp$")
  add_library(rlhf4j_ptx OBJECT ${ptx_sources})
  target_link_libraries(rlhf4j_ptx PRIVATE rlhf4j_cuda_options)
  # Lanes as vectors. A product and a sum are rounded twice unless PTX says fma.
  target_compile_options(rlhf4j_ptx PRIVATE -O3 -march=x86-64-v3 -ffp-contract=off -fno-math-errno -fno-trapping-math)
  foreach(arch 80 90)
    if(NOT arch IN_LIST RLHF4J_CUDA_ARCHITECTURES)
      message(FATAL_ERROR "The tests interpret PTX for 80 and 90: RLHF4J_CUDA_ARCHITECTURES needs both, found ${RLHF4J_CUDA_ARCHITECTURES}")
    endif()
    embed_images(${arch}.ptx emulator/ptx/ptx_images.h rl::emulator::ptx::ptx_images)
    add_library(rlhf4j_ptx_images${arch} OBJECT "${image_dir}/${arch}.ptx.cpp")
    target_link_libraries(rlhf4j_ptx_images${arch} PRIVATE rlhf4j_cuda_options)
    add_dependencies(rlhf4j_ptx_images${arch} rlhf4j_images)
    add_backend(ptx${arch} $<TARGET_OBJECTS:rlhf4j_ptx> $<TARGET_OBJECTS:rlhf4j_emulator> $<TARGET_OBJECTS:rlhf4j_emulated_libraries>
                emulator/ptx/plugin.cpp $<TARGET_OBJECTS:rlhf4j_ptx_images${arch}>)
    target_compile_definitions(rlhf4j_ptx${arch} PRIVATE RL_PTX=${arch})
    add_dependencies(rlhf4j_ptx${arch} rlhf4j)
  endforeach()
elseif(RLHF4J_TESTS)
  message(STATUS "The emulator needs GCC on x86-64: its tests are left out")
endif()
