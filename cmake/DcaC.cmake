# dca::c: the C interface, a shared library that exports dca_* and nothing else. Its header needs neither C++ nor Eigen.
set(DCA_C_SOURCES ${PROJECT_SOURCE_DIR}/src/c)
add_library(dca_c SHARED ${DCA_C_SOURCES}/attention.cpp ${DCA_C_SOURCES}/caches.cpp ${DCA_C_SOURCES}/calls.cpp
                         ${DCA_C_SOURCES}/errors.cpp ${DCA_C_SOURCES}/library.cpp ${DCA_C_SOURCES}/registry.cpp)
add_library(dca::c ALIAS dca_c)
find_package(Threads REQUIRED)
# Not as targets that a program in C would be told of: where dca::kernels is shared, it lies beside this library.
target_link_libraries(dca_c PRIVATE $<BUILD_INTERFACE:dca_compiled> $<BUILD_INTERFACE:Threads::Threads>
                                    $<BUILD_INTERFACE:$<TARGET_NAME_IF_EXISTS:dca_warnings>>)
target_include_directories(dca_c INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(
  dca_c
  PROPERTIES EXPORT_NAME c
             VERSION ${PROJECT_VERSION}
             SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
             CXX_VISIBILITY_PRESET hidden
             VISIBILITY_INLINES_HIDDEN ON)
if(NOT APPLE)
  # What dca::kernels and the C++ library bring is visible in their objects, and hidden here.
  target_link_options(dca_c PRIVATE LINKER:--version-script=${DCA_C_SOURCES}/exports.map)
  set_target_properties(dca_c PROPERTIES LINK_DEPENDS ${DCA_C_SOURCES}/exports.map INSTALL_RPATH "$ORIGIN")
endif()

# A package of its own, dca-c: that of the C++ library looks for Eigen.
if(DCA_INSTALL)
  include(CMakePackageConfigHelpers)
  set(DCA_C_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/dca-c)
  install(TARGETS dca_c EXPORT dca-c-targets)
  if(BUILD_SHARED_LIBS AND NOT DCA_BUILD_KERNELS)
    install(TARGETS dca_kernels)
  endif()
  install(
    EXPORT dca-c-targets
    NAMESPACE dca::
    FILE dca-c-config.cmake
    DESTINATION ${DCA_C_PACKAGE_DIR})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/dca-c-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/dca-c-config-version.cmake DESTINATION ${DCA_C_PACKAGE_DIR})
  configure_file(${PROJECT_SOURCE_DIR}/cmake/dca-c.pc.in ${PROJECT_BINARY_DIR}/dca-c.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/dca-c.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
endif()
