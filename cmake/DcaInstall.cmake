# Headers, targets dca::dca and dca::native, and what find_package(dca) reads.
include(CMakePackageConfigHelpers)

set(DCA_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/dca)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dca DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS dca dca_native EXPORT dca-targets)
install(
  EXPORT dca-targets
  NAMESPACE dca::
  DESTINATION ${DCA_PACKAGE_DIR})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/dca-config.cmake.in ${PROJECT_BINARY_DIR}/dca-config.cmake
                              INSTALL_DESTINATION ${DCA_PACKAGE_DIR})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/dca-config-version.cmake
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/dca-config.cmake ${PROJECT_BINARY_DIR}/dca-config-version.cmake
        DESTINATION ${DCA_PACKAGE_DIR})
