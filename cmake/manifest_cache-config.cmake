# find_package(manifest_cache): the targets manifest_cache::manifest_cache, which is the shared library, and
# manifest_cache::static. One of them is missing if its library is, or, for the static one, the file for pkg-config beside it.

get_filename_component(_mc_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

# What was found for another prefix must not stay.
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

# What the static library needs of the system stands beside it, for pkg-config, as rustc named it. Who links it exports none of its
# functions, which another copy in the same process could take for its own.
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
    set(manifest_cache_NOT_FOUND_MESSAGE "there is no library of it below ${_mc_prefix}")
endif()
