# Runs GOLDEN on FOLDER, or says that it was skipped where there is no such folder.
if(NOT EXISTS ${FOLDER}/cases.csv)
  message("SKIPPED: no golden cases beside the repository, in ../shared/golden")
  return()
endif()
execute_process(COMMAND ${GOLDEN} ${FOLDER} RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "dca_golden failed: ${result}")
endif()
