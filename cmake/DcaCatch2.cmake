# Catch2 2.13 or 3, installed or downloaded: target dca_catch (headers and library, without a main), DCA_CATCH2_MAJOR,
# and catch_discover_tests.
find_package(Catch2 CONFIG QUIET)
if(NOT Catch2_FOUND)
  message(STATUS "dca: no Catch2 found, downloading 2.13.10")
  include(FetchContent)
  FetchContent_Declare(
    dca_catch2
    GIT_REPOSITORY https://github.com/catchorg/Catch2.git
    GIT_TAG 182c910b4b63ff587a3440e08f84f70497e49a81) # v2.13.10
  FetchContent_MakeAvailable(dca_catch2)
  list(APPEND CMAKE_MODULE_PATH ${dca_catch2_SOURCE_DIR}/contrib)
  set(Catch2_VERSION 2.13.10)
endif()

string(REGEX MATCH "^[0-9]+" DCA_CATCH2_MAJOR "${Catch2_VERSION}")
add_library(dca_catch INTERFACE)
target_link_libraries(dca_catch INTERFACE Catch2::Catch2)
include(Catch)
