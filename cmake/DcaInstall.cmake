# Headers, targets dca::dca, dca::native and, where they are built, dca::kernels and dca::compiled, and what find_package(dca) reads.
include(CMakePackageConfigHelpers)

set(DCA_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/dca)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dca DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS dca dca_native EXPORT dca-targets)
if(DCA_BUILD_KERNELS)
  install(TARGETS dca_kernels dca_compiled EXPORT dca-targets)
endif()
install(
  EXPORT dca-targets
  NAMESPACE dca::
  DESTINATION ${DCA_PACKAGE_DIR})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/dca-config.cmake.in ${PROJECT_BINARY_DIR}/dca-config.cmake
                              INSTALL_DESTINATION ${DCA_PACKAGE_DIR})
set(DCA_ANY_ARCHITECTURE ARCH_INDEPENDENT)
if(DCA_BUILD_KERNELS)
  set(DCA_ANY_ARCHITECTURE "")
endif()
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/dca-config-version.cmake
  COMPATIBILITY SameMinorVersion
  ${DCA_ANY_ARCHITECTURE})
install(FILES ${PROJECT_BINARY_DIR}/dca-config.cmake ${PROJECT_BINARY_DIR}/dca-config-version.cmake
        DESTINATION ${DCA_PACKAGE_DIR})

# For pkg-config, and found wherever the tree is moved: paths start at the file's own folder, unless they were given as
# absolute ones.
set(DCA_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
set(DCA_PC_INCLUDEDIR ${CMAKE_INSTALL_FULL_INCLUDEDIR})
set(DCA_PC_LIBDIR ${CMAKE_INSTALL_FULL_LIBDIR})
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_DATADIR}")
  file(RELATIVE_PATH up /${CMAKE_INSTALL_DATADIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" DCA_PC_PREFIX "\${pcfiledir}/${up}")
  set(DCA_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
  set(DCA_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/dca.pc.in ${PROJECT_BINARY_DIR}/dca.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/dca.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
if(DCA_BUILD_KERNELS)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/dca-kernels.pc.in ${PROJECT_BINARY_DIR}/dca-kernels.pc @ONLY)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/dca-compiled.pc.in ${PROJECT_BINARY_DIR}/dca-compiled.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/dca-kernels.pc ${PROJECT_BINARY_DIR}/dca-compiled.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
endif()
