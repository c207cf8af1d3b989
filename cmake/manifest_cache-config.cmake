# find_package(manifest_cache) defines two targets: manifest_cache::manifest_cache, the shared
# library, and manifest_cache::static, the static one. A target whose library is not installed is
# missing. The static one also needs the installed pkg-config file.

get_filename_component(_mc_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

# Removes results for another prefix from CMake's cache.
foreach(_mc_kind SHARED STATIC)
    unset(_mc_${_mc_kind} CACHE)
    find_library(_mc_${_mc_kind}
        NAMES "${CMAKE_${_mc_kind}_LIBRARY_PREFIX}manifest_cache${CMAKE_${_mc_kind}_LIBRARY_SUFFIX}"
        PATHS "${_mc_prefix}" PATH_SUFFIXES "lib/${CMAKE_LIBRARY_ARCHITECTURE}" lib lib64
        NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    mark_as_advanced(_mc_${_mc_kind})
endforeach()

if(_mc_SHARED AND NOT TARGET manifest_cache::manifest_cache)
    add_library(manifest_cache::manifest_cache SHARED IMPORTED)
    set_target_properties(manifest_cache::manifest_cache PROPERTIES
        IMPORTED_LOCATION "${_mc_SHARED}"
        INTERFACE_INCLUDE_DIRECTORIES "${_mc_prefix}/include")
endif()

# The pkg-config file lists the system libraries that the static library needs. A program that links
# the static library does not export its functions, so that another copy of the library in the same
# process cannot call them by mistake.
get_filename_component(_mc_directory "${_mc_STATIC}" DIRECTORY)
set(_mc_pc "${_mc_directory}/pkgconfig/manifest_cache.pc")
if(_mc_STATIC AND EXISTS "${_mc_pc}" AND NOT TARGET manifest_cache::static)
    file(STRINGS "${_mc_pc}" _mc_needs REGEX "^Libs.private:")
    string(REGEX MATCHALL "-l[^ ]+" _mc_needs "${_mc_needs}")
    add_library(manifest_cache::static STATIC IMPORTED)
    set_target_properties(manifest_cache::static PROPERTIES
        IMPORTED_LOCATION "${_mc_STATIC}"
        INTERFACE_INCLUDE_DIRECTORIES "${_mc_prefix}/include"
        INTERFACE_LINK_LIBRARIES "${_mc_needs}")
    if(CMAKE_EXECUTABLE_FORMAT STREQUAL "ELF")
        set_target_properties(manifest_cache::static PROPERTIES
            INTERFACE_LINK_OPTIONS "LINKER:--exclude-libs,libmanifest_cache.a")
    endif()
endif()

if(NOT _mc_SHARED AND NOT _mc_STATIC)
    set(manifest_cache_FOUND FALSE)
    set(manifest_cache_NOT_FOUND_MESSAGE "neither the shared nor the static library is installed below ${_mc_prefix}")
endif()
