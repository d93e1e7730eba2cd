# The imported target rlhf4j::onednn, and RLHF4J_RUNTIME_LIBS: what must lie beside librlhf4j at run time.
# oneDNN comes from the artifact org.bytedeco:dnnl, unpacked below build/onednn by Maven; the version stands in pom.xml.

if(APPLE)
  set(_arch "${CMAKE_SYSTEM_PROCESSOR}")
  if(CMAKE_OSX_ARCHITECTURES)
    set(_arch "${CMAKE_OSX_ARCHITECTURES}")
  endif()
  set(_os macosx)
else()
  set(_os linux)
  set(_arch "${CMAKE_SYSTEM_PROCESSOR}")
endif()
if(_arch MATCHES "^(x86_64|amd64|AMD64)$")
  set(RLHF4J_PLATFORM "${_os}-x86_64")
elseif(_arch MATCHES "^(aarch64|arm64)$")
  set(RLHF4J_PLATFORM "${_os}-arm64")
else()
  set(RLHF4J_PLATFORM "${_os}-${_arch}")
endif()

set(_dir "${RLHF4J_ONEDNN_DIR}")
if(NOT _dir)
  set(_dir "${PROJECT_SOURCE_DIR}/build/onednn/org/bytedeco/dnnl/${RLHF4J_PLATFORM}")
  if(NOT EXISTS "${_dir}/include/oneapi/dnnl/dnnl.hpp")
    message(STATUS "oneDNN: fetching it through Maven into ${PROJECT_SOURCE_DIR}/build/onednn")
    execute_process(
      COMMAND "${PROJECT_SOURCE_DIR}/.mvn/maven.sh" -q -f "${PROJECT_SOURCE_DIR}/bindings/pom.xml"
              dependency:unpack@unpack-onednn
      RESULT_VARIABLE _status
      OUTPUT_VARIABLE _output
      ERROR_VARIABLE _output)
    if(NOT _status EQUAL 0)
      message(FATAL_ERROR "oneDNN could not be fetched through Maven. Without a network, name a folder that holds its library "
                          "and include/ with -DRLHF4J_ONEDNN_DIR=DIR. Maven said:\n${_output}")
    endif()
  endif()
endif()

if(APPLE)
  file(GLOB _library "${_dir}/libdnnl.*.dylib")
  file(GLOB RLHF4J_RUNTIME_LIBS "${_dir}/libdnnl.*.dylib" "${_dir}/libomp*.dylib" "${_dir}/libiomp*.dylib")
  list(GET _library 0 _library)
else()
  set(_library "${_dir}/libdnnl.so.3")
  set(RLHF4J_RUNTIME_LIBS "${_library}")
  # oneDNN's libgomp is the one that the process uses: a second OpenMP runtime would bring a second set of threads.
  if(EXISTS "${_dir}/libgomp.so.1" AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    list(APPEND RLHF4J_RUNTIME_LIBS "${_dir}/libgomp.so.1")
  endif()
endif()
if(NOT EXISTS "${_library}" OR NOT EXISTS "${_dir}/include/oneapi/dnnl/dnnl.hpp")
  message(FATAL_ERROR "oneDNN: expected libdnnl.so.3 and include/oneapi/dnnl/dnnl.hpp in ${_dir}")
endif()
message(STATUS "oneDNN: ${_dir}")

add_library(rlhf4j::onednn SHARED IMPORTED)
set_target_properties(rlhf4j::onednn PROPERTIES IMPORTED_LOCATION "${_library}" IMPORTED_SONAME "libdnnl.so.3"
                                                INTERFACE_INCLUDE_DIRECTORIES "${_dir}/include")
if(APPLE)
  set_target_properties(rlhf4j::onednn PROPERTIES IMPORTED_SONAME "")
endif()
