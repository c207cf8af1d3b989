# The version is that of the header. A newer one with the same soname serves as well: see docs/abi.md.

file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../../../include/manifest_cache.h" _mc_numbers REGEX "^#define MC_VERSION_")
string(REGEX MATCHALL "[0-9]+" _mc_numbers "${_mc_numbers}")
string(REPLACE ";" "." PACKAGE_VERSION "${_mc_numbers}")
list(GET _mc_numbers 0 _mc_major)

set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_FIND_VERSION_MAJOR STREQUAL "" OR PACKAGE_FIND_VERSION_MAJOR EQUAL _mc_major)
    if(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION)
        set(PACKAGE_VERSION_COMPATIBLE TRUE)
    endif()
endif()
if(PACKAGE_FIND_VERSION_MAX AND PACKAGE_VERSION VERSION_GREATER PACKAGE_FIND_VERSION_MAX)
    set(PACKAGE_VERSION_COMPATIBLE FALSE)
endif()
if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
endif()
