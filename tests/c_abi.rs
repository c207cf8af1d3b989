//! The C interface, tested from C and C++: the programs in `tests/c` are compiled against
//! `include/manifest_cache.h`, linked to the shared library, and run once for each of their tests.

mod common;

use common::root;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Makes a test of each `TEST` in a program.
macro_rules! programs {
    ($($program:ident: $source:literal { $($test:ident)* })*) => {$(
        mod $program {
            static PROGRAM: super::Program = super::Program::new($source);

            $(#[test]
            fn $test() {
                PROGRAM.run(stringify!($test));
            })*

            #[test]
            fn all_tests_of_the_program_are_run() {
                PROGRAM.has_exactly(&[$(stringify!($test)),*]);
            }
        }
    )*};
}

programs! {
    service: "service.c" {
        cache_hit
        cache_expiration
        cache_clear_single
        cache_clear_all
        cache_none_handling
    }

    cache: "cache.c" {
        r1_a_fresh_entry_is_returned_without_calling_the_loader
        r1_plugins_and_caches_are_kept_apart
        r1_a_thousand_plugins_are_found_again
        an_id_is_any_utf8_string
        a_null_loader_only_looks
        r2_an_entry_lives_at_least_as_long_as_its_time_to_live_and_then_is_loaded_again
        r2_an_expired_entry_is_counted_until_it_is_cleared
        r2_an_expired_entry_is_counted_until_a_load_replaces_it
        r2_an_expired_entry_goes_when_its_load_brings_nothing
        r2_with_a_time_to_live_of_zero_nothing_is_kept
        r4_not_found_is_returned_as_such_and_not_cached
        r5_an_object_without_members_is_returned_but_not_cached
        r5_an_object_whose_members_are_empty_is_cached
        r10_a_failure_is_not_cached_and_the_next_call_loads_again
        clear_says_how_many_manifests_it_forgot
        the_version_of_the_library_is_that_of_its_header
        an_error_is_512_bytes
    }

    stats: "stats.c" {
        a_new_cache_has_counted_nothing
        the_first_three_figures_are_those_of_old
        ttl_seconds_has_decimals_if_need_be_and_is_null_for_ever
        every_call_counts_where_the_header_says
        load_time_is_the_time_spent_in_loaders
    }

    manifest: "manifest.c" {
        r6_the_bytes_come_back_as_they_went_in
        r6_a_manifest_needs_no_nul_at_its_end
        r6_the_callers_buffer_is_copied
        r6_what_is_no_json_object_is_refused_with_line_and_column
        r6_the_grammar_is_that_of_rfc_8259
        r6_a_text_cut_short_is_refused_wherever_it_is_cut
        r6_what_is_not_utf8_is_refused_where_that_begins
        r6_a_nul_in_the_text_is_refused
        r6_a_byte_order_mark_is_named
        r6_no_nesting_is_too_deep
        r6_sixteen_mebibytes_are_accepted_and_no_byte_more
    }

    answers: "answers.c" {
        no_answer_is_a_failure_and_not_a_missing_plugin
        the_last_answer_stands
        a_failure_brings_the_hosts_code_and_message
        a_message_is_one_line_without_control_characters
        a_long_message_is_cut_between_characters
        a_message_that_is_not_utf8_is_made_so
        long_ids_lack_their_middle
        r3_the_loader_runs_on_the_calling_thread_with_the_callers_pointers
        r3_a_loader_may_call_everything
        r3_a_loader_may_clear_everything
    }

    files: "files.c" {
        a_file_is_read_as_it_stands
        a_missing_file_is_not_found
        a_file_that_may_not_be_read_is_a_failure_with_errno
        a_path_that_leads_in_circles_is_a_failure_with_errno
        a_directory_is_no_file
        a_fifo_is_no_file_and_does_not_block
        a_device_is_no_file_and_does_not_block
        an_invalid_file_is_named_with_line_and_column
        a_file_of_sixteen_mebibytes_is_accepted_and_no_byte_more
        a_directory_of_plugins_is_searched_by_id
        an_id_that_is_no_plain_name_touches_no_file
        directories_are_searched_one_after_the_other
        a_file_that_is_still_the_same_is_renewed_without_being_read
        a_file_that_was_replaced_by_rename_is_seen
        a_file_with_equal_bytes_is_unchanged_even_if_it_is_another
        a_file_that_is_gone_is_not_found_even_if_a_stale_manifest_is_there
        a_file_caught_half_written_is_refused_and_the_expired_manifest_given
    }

    arguments: "arguments.c" {
        r14_get_without_a_cache_or_an_id_is_an_invalid_argument
        r14_an_id_that_is_not_utf8_is_an_invalid_argument
        r14_the_error_may_be_null
        r14_everything_else_takes_null_for_nothing
        r14_clearing_an_id_that_is_not_utf8_clears_nothing
        r14_there_is_no_revision_of_an_id_that_is_null_or_not_utf8
        r14_a_put_without_a_cache_an_id_or_a_text_is_an_invalid_argument
        r14_an_answer_of_null_is_an_invalid_argument
        r14_an_answer_to_no_load_is_an_invalid_argument
        r14_a_length_that_cannot_be_is_refused_without_reading
    }

    options: "options.c" {
        an_option_takes_every_value_that_can_be
        an_option_there_is_not_is_an_invalid_argument
        a_value_that_cannot_be_is_an_invalid_argument_and_changes_nothing
        the_time_to_live_that_is_set_is_that_of_what_is_stored_from_then_on
        without_a_stale_policy_a_failure_is_a_failure
        stale_if_error_gives_the_expired_manifest_and_says_why
        stale_if_error_needs_no_error_to_fill
        stale_if_error_takes_not_found_for_an_answer
        stale_if_error_ends_with_its_time
        after_a_failure_the_loader_is_left_alone_for_the_retry_time
        after_the_retry_time_the_loader_is_asked_again
        stale_while_revalidate_has_nobody_wait_but_the_one_who_loads
        stale_while_revalidate_gives_nobody_what_was_cleared
        a_remembered_not_found_spares_the_loader_until_it_is_cleared
        a_remembered_not_found_is_forgotten_after_its_time
        a_put_replaces_a_remembered_not_found
        a_not_found_that_a_clear_came_before_is_not_remembered
        a_bound_on_entries_holds_and_what_is_used_stays
        a_revision_that_was_asked_for_is_a_use
        a_bound_on_bytes_holds_and_what_is_longer_is_given_but_not_stored
        a_bound_holds_as_soon_as_it_is_set_and_no_longer_than_that
        what_has_expired_goes_before_what_has_not
        a_remembered_not_found_is_an_entry_to_the_bound
        bounds_hold_at_every_step_of_eight_threads_and_each_get_is_counted_once
        a_longer_manifest_than_allowed_is_invalid
        who_waits_too_long_gets_a_timeout_and_who_asks_next_loads_anew
        a_load_that_was_given_up_stores_nothing_even_if_nobody_asked_again
        to_wait_for_ever_is_no_timeout
        what_was_put_is_there_byte_for_byte_and_needs_no_nul
        what_cannot_be_put_changes_nothing_and_says_where
        a_put_is_newer_than_any_load_in_progress
        to_put_an_object_without_members_clears
        a_revision_is_that_of_the_manifest_and_of_no_other
        a_revision_that_is_there_is_a_hit_and_else_nothing_is_counted
        what_is_handed_out_but_not_kept_has_a_revision_and_a_report_has_none
        each_statistic_has_its_number
        a_statistic_there_is_not_is_zero
        entries_are_told_with_their_members_in_order
        a_remembered_not_found_is_an_entry_without_bytes_and_revision
        all_entries_are_told
        a_purge_drops_what_has_expired_and_nothing_else
        a_purge_leaves_what_a_stale_policy_can_serve
        a_purge_fences_no_load
        a_loader_may_give_its_manifest_a_time_to_live_of_its_own
        an_unchanged_manifest_keeps_its_revision_for_another_time_to_live
        an_unchanged_manifest_keeps_its_own_time_to_live
        nothing_can_not_be_unchanged
        what_a_clear_forgot_is_not_renewed
    }

    logging: "logging.c" {
        hits_and_loads_and_what_was_cached_and_had_expired_are_told
        what_was_not_cached_is_not_told_as_cached
        what_was_cleared_is_told
        a_failure_is_told_as_the_error_has_it
        a_call_that_gives_up_waiting_is_told_as_the_error_has_it
        only_what_the_level_asks_for_is_told
        a_logger_is_told_nothing_once_it_is_unset
        each_cache_has_its_own_logger_and_the_last_one_set_is_told
        a_logger_may_call_everything_and_is_not_told_of_that
        a_logger_is_called_with_no_lock_held
        a_logger_may_unset_itself
        a_logger_is_told_by_many_threads_at_once_while_it_is_being_replaced
    }

    sharing: "sharing.c" {
        r7_concurrent_misses_run_one_loader_and_all_get_its_manifest
        r7_a_manifest_is_shared
        r7_not_found_is_shared
        r7_a_failure_is_shared
        r7_a_load_is_shared_even_if_nothing_is_kept
        r7_loads_of_different_plugins_run_side_by_side
        r7_loads_of_one_plugin_in_different_caches_run_side_by_side
        r1_hits_misses_and_statistics_go_on_while_a_loader_of_another_plugin_hangs
        r1_hits_go_on_while_an_older_loader_of_the_same_plugin_hangs
        a_look_does_not_wait_for_a_load
    }

    clearing: "clearing.c" {
        r8_a_get_after_a_clear_never_sees_the_old_manifest
        r8_a_get_after_clearing_everything_never_sees_the_old_manifest
        r8_an_old_load_that_brings_nothing_removes_nothing
        r8_an_old_load_that_ends_first_is_not_cached
        r8_an_old_load_that_ends_leaves_the_new_one_to_be_joined
        r8_who_waits_already_gets_what_the_old_load_brings
        r8_a_loader_that_clears_its_own_plugin_is_not_cached
        r8_nested_loads_inherit_no_fence
        r8_a_nested_loader_that_clears_the_outer_plugin_is_cached_itself
        r8_clearing_one_plugin_leaves_the_loads_of_others_alone
        r8_clearing_one_cache_leaves_the_loads_of_another_alone
    }

    cycles: "cycles.c" {
        r9_a_loader_may_get_other_plugins
        r9_a_plugin_that_gets_itself_is_an_error_naming_the_chain
        r9_a_cycle_in_one_thread_is_an_error_naming_the_chain
        r9_only_the_call_that_closes_the_circle_gets_the_error
        r9_two_ways_to_the_same_plugin_are_no_cycle
        r9_a_cycle_through_two_caches_is_an_error_and_one_name_in_both_is_none
        r9_a_cycle_across_two_threads_is_an_error_naming_the_chain
        r9_a_cycle_across_three_threads_is_an_error_naming_the_chain
        r9_a_cycle_across_two_threads_and_two_caches_is_an_error_naming_the_chain
        r9_a_plugin_loading_further_up_the_thread_is_a_cycle_even_after_a_clear
        r9_it_is_a_cycle_even_if_another_thread_loads_the_plugin_anew
        r9_after_a_cycle_everything_can_be_loaded_again
    }

    strings: "strings.c" {
        r13_a_string_survives_clear_and_free
        r13_a_string_survives_expiry_and_the_load_that_follows
        r13_a_string_that_was_never_kept_lives_too
        r13_each_of_many_shares_is_given_back_once_on_any_thread
        r13_strings_of_many_plugins_are_given_back_in_any_order
        r13_large_strings_are_no_exception
        r13_a_string_may_be_given_back_by_a_destructor_at_thread_exit
        r15_a_destructor_at_thread_exit_may_call_everything
        r13_a_string_may_be_given_back_at_process_exit
    }

    together: "together.c" {
        r15_every_function_may_be_called_from_every_thread_and_the_sums_are_exact
        r15_hits_of_a_hundred_threads_are_all_counted
        r15_a_new_cache_is_never_taken_for_one_that_was_freed
    }

    exceptions: "exceptions.cpp" {
        r11_an_exception_passes_through_get_as_it_is
        r11_the_error_is_left_as_it_was
        r11_the_next_get_loads_again
        r11_an_answer_given_before_the_exception_is_not_cached
        r11_an_exception_passes_through_nested_gets
        r11_a_loader_may_catch_what_a_nested_one_throws
        r11_who_waits_gets_a_failed_load
        r11_a_cleared_load_that_throws_is_gone_too
        r11_who_waits_gets_the_expired_manifest_if_a_policy_allows_it
        r11_after_an_exception_the_loader_is_left_alone_for_the_retry_time
        r11_what_an_exception_brings_to_an_end_is_not_told
    }

    destructors: "destructors.cpp" {
        r13_a_thread_local_destructor_may_give_a_string_back
        r13_a_static_destructor_may_give_a_string_back
    }

    fork: "fork.c" {
        r12_a_child_forked_under_load_has_a_working_cache
        r12_a_child_forked_inside_a_loader_ends_that_load_itself
        r12_a_load_of_a_thread_that_is_not_in_the_child_is_abandoned
        r12_a_circle_that_the_fork_has_broken_is_none_in_the_child
    }

    unload: "unload.c" {
        a_library_used_on_threads_that_ended_is_unmapped_and_can_be_forked_without
        a_library_used_on_a_thread_that_lives_stays_mapped_and_can_be_opened_again
        a_thousand_times_opened_and_unmapped_it_leaks_no_more_than_documented
        a_thousand_times_opened_and_closed_on_a_thread_that_lives_it_does_not_grow
    }

    abi: "abi.c" {
        an_error_is_written_within_its_512_bytes
    }

    classes: "classes.cpp" {
        a_manifest_owns_its_text
        what_is_assigned_to_gives_back_what_it_had
        a_loader_is_whatever_can_be_called
        a_generic_loader_compares_ids_as_texts
        ids_and_paths_are_texts_of_any_kind
        r1_a_hit_calls_no_loader
        what_fails_is_an_error_with_its_status_and_place
        an_error_to_be_filled_is_filled_instead
        r11_what_a_loader_throws_passes_through_as_it_is
        r9_loaders_may_get_other_plugins_and_a_circle_is_an_error
        an_id_with_a_nul_in_it_is_refused_before_it_names_another_plugin
        the_rest_does_what_its_c_function_does
        a_load_can_be_answered_in_every_way
        a_logger_is_whatever_can_be_called
        a_logger_may_be_a_function
        r1_a_hit_allocates_nothing
        r15_threads_share_a_cache
    }
}

struct Program {
    source: &'static str,
    executable: OnceLock<Result<PathBuf, String>>,
}

impl Program {
    const fn new(source: &'static str) -> Self {
        Program { source, executable: OnceLock::new() }
    }

    fn run(&self, test: &str) {
        let directory = scratch().join(self.source).join(test);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("the directory for a test can be made");
        let mut program = self.command();
        // glibc overwrites memory that is freed with this, so that its further use shows.
        program
            .arg(test)
            .current_dir(&directory)
            .env("MALLOC_PERTURB_", "165")
            .env("MC_LIBRARY", common::library());
        let ran = program.output().expect("the program can be started");
        let output = text(&ran);
        // A bug that the library caught is told there, even if the program did not see anything of
        // it.
        let well = ran.status.success() && !output.contains("panicked at");
        assert!(well, "{} {test}: {}\n{output}", self.source, ran.status);
        let _ = fs::remove_dir_all(directory);
    }

    fn has_exactly(&self, expected: &[&str]) {
        let listed = self.command().output().expect("the program can be started");
        let names = String::from_utf8_lossy(&listed.stdout);
        assert_eq!(
            BTreeSet::from_iter(names.lines()),
            BTreeSet::from_iter(expected.iter().copied())
        );
    }

    fn command(&self) -> Command {
        match self.executable.get_or_init(|| build(self.source)) {
            Ok(executable) => {
                let mut command = Command::new(executable);
                // Cargo's search path comes before the program's own and may hold an older library.
                command.env_remove("LD_LIBRARY_PATH").env_remove("DYLD_FALLBACK_LIBRARY_PATH");
                command
            }
            Err(why) => panic!("{why}"),
        }
    }
}

/// Compiles a program and links it to the library that cargo built together with this test.
fn build(source: &str) -> Result<PathBuf, String> {
    let library = common::library();
    let library = library.parent().expect("a file is in a directory");
    let executable = scratch().join(source).with_extension("");
    // Under another name first: processes that test at the same time never see half a program.
    let unfinished = scratch().join(format!("{source}.{}", std::process::id()));
    fs::create_dir_all(scratch()).map_err(|error| error.to_string())?;
    let compiled = compiler(source)
        .args(WARNINGS)
        .args(["-g", "-pthread", "-D_POSIX_C_SOURCE=200809L"])
        .arg(standard(source))
        .arg(root().join("tests/c").join(source))
        .arg("-o")
        .arg(&unfinished)
        .arg("-L")
        .arg(library)
        // Not for the program that opens the library itself.
        .args(["-Wl,--as-needed", "-lmanifest_cache"])
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .arg("-ldl")
        .output()
        .map_err(|error| no_compiler(source, &error))?;
    if !compiled.status.success() {
        return Err(format!("{source} does not compile:\n{}", text(&compiled)));
    }
    fs::rename(unfinished, &executable).map_err(|error| error.to_string())?;
    Ok(executable)
}

/// The compiler for a C or C++ source, set to that language.
fn compiler(source: &str) -> Command {
    let (variable, usual) = if is_cpp(source) { ("CXX", "c++") } else { ("CC", "cc") };
    let name = env::var(variable).unwrap_or_default();
    // The variable may hold arguments too.
    let mut words = name.split_whitespace();
    let mut compiler = Command::new(words.next().unwrap_or(usual));
    compiler.args(words).arg("-I").arg(root().join("include"));
    compiler
}

fn no_compiler(source: &str, error: &std::io::Error) -> String {
    let (language, variable, usual) =
        if is_cpp(source) { ("C++", "CXX", "c++") } else { ("C", "CC", "cc") };
    format!(
        "`cargo test` needs a {language} compiler: install one as `{usual}`, or name it in ${variable} ({error})"
    )
}

/// C++11 is enough for the C header, its classes want C++17.
fn standard(source: &str) -> &str {
    match source {
        "classes.cpp" => "-std=c++17",
        _ if is_cpp(source) => "-std=c++11",
        _ => "-std=c11",
    }
}

fn is_cpp(source: &str) -> bool {
    source.ends_with(".cpp")
}

fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_abi")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_header_compiles_without_a_warning_as_every_c() {
    for standard in ["c99", "c11", "c17", "c2x"] {
        compile_header("manifest_cache.h", "alone.c", standard);
    }
}

#[test]
fn the_header_compiles_without_a_warning_as_every_cpp() {
    for standard in ["c++11", "c++14", "c++17", "c++20"] {
        compile_header("manifest_cache.h", "alone.cpp", standard);
    }
}

#[test]
fn the_header_of_the_classes_compiles_without_a_warning_from_cpp_17_on() {
    for standard in ["c++17", "c++20", "c++2b"] {
        compile_header("manifest_cache.hpp", "alone.cpp", standard);
    }
}

/// Includes nothing but the header, once and twice.
fn compile_header(header: &str, source: &str, standard: &str) {
    let language = if is_cpp(source) { "c++" } else { "c" };
    for times in [1, 2] {
        let mut compiler = compiler(source);
        compiler.args(WARNINGS).args(["-Wconversion", "-Wshadow"]);
        compiler.args(["-fsyntax-only", "-x", language]).arg(format!("-std={standard}")).arg("-");
        compiler.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut compiling =
            compiler.spawn().unwrap_or_else(|error| panic!("{}", no_compiler(source, &error)));
        let mut stdin = compiling.stdin.take().expect("stdin is piped");
        stdin
            .write_all(format!("#include \"{header}\"\n").repeat(times).as_bytes())
            .expect("the compiler reads");
        drop(stdin);
        let compiled = compiling.wait_with_output().expect("the compiler ends");
        assert!(
            compiled.status.success(),
            "{header} {times} times as {standard}:\n{}",
            text(&compiled)
        );
    }
}
