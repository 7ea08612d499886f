# Eigen >= 3.4, 5 included: a target of the parent project, an installed package, or a download. Sets
# DCA_EIGEN_INCLUDE_DIRS.
if(NOT TARGET Eigen3::Eigen)
  # No version here: 3.4 and 5 refuse each other's ranges. Compared below.
  find_package(Eigen3 CONFIG QUIET)
  if(Eigen3_FOUND AND Eigen3_VERSION AND Eigen3_VERSION VERSION_LESS 3.4)
    message(FATAL_ERROR "dca: Eigen ${Eigen3_VERSION} in ${Eigen3_DIR}; 3.4 or later is needed "
                        "(set Eigen3_DIR, or CMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON to download it)")
  endif()
endif()

if(NOT TARGET Eigen3::Eigen)
  message(STATUS "dca: no Eigen found, downloading 3.4.0")
  include(FetchContent)
  # SOURCE_SUBDIR names no directory: headers are all that is needed, and Eigen's own build is not run.
  FetchContent_Declare(
    dca_eigen
    URL https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
    URL_HASH SHA256=8586084f71f9bde545ee7fa6d00288b264a2b7ac3607b974e54d13e7162c1c72
    SOURCE_SUBDIR headers-only)
  FetchContent_MakeAvailable(dca_eigen)
  add_library(Eigen3::Eigen INTERFACE IMPORTED)
  target_include_directories(Eigen3::Eigen INTERFACE ${dca_eigen_SOURCE_DIR})
endif()

get_target_property(DCA_EIGEN_INCLUDE_DIRS Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
