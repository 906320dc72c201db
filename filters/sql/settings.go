package sql

import "strings"

// harmless are settings that change how a session sees and plans, and nothing that it may do.
var harmless = words(`
	application_name bytea_output client_encoding client_min_messages constraint_exclusion cpu_index_tuple_cost
	cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction datestyle deadlock_timeout debug_print_parse
	debug_print_plan debug_print_rewritten debug_pretty_print default_statistics_target
	default_transaction_deferrable default_transaction_isolation default_transaction_read_only
	effective_cache_size effective_io_concurrency enable_async_append enable_bitmapscan enable_gathermerge
	enable_group_by_reordering enable_hashagg enable_hashjoin enable_incremental_sort enable_indexonlyscan
	enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop enable_parallel_append
	enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate enable_partitionwise_join
	enable_presorted_aggregate enable_seqscan enable_sort enable_tidscan escape_string_warning
	extra_float_digits from_collapse_limit geqo geqo_effort geqo_generations geqo_pool_size
	geqo_seed geqo_selection_bias geqo_threshold gin_fuzzy_search_limit hash_mem_multiplier
	idle_in_transaction_session_timeout idle_session_timeout intervalstyle jit join_collapse_limit
	lc_monetary lc_numeric lc_time lock_timeout maintenance_io_concurrency min_parallel_index_scan_size
	min_parallel_table_scan_size parallel_leader_participation parallel_setup_cost parallel_tuple_cost
	plan_cache_mode quote_all_identifiers random_page_cost search_path seq_page_cost
	standard_conforming_strings statement_timeout synchronize_seqscans tcp_keepalives_count
	tcp_keepalives_idle tcp_keepalives_interval tcp_user_timeout timezone transaction_deferrable
	transaction_isolation transaction_read_only transaction_timeout work_mem xmlbinary xmloption
	array_nulls backslash_quote seed session_characteristics transaction row_security`)

// HarmlessSetting tells whether a session may set name without gaining anything by it.
func HarmlessSetting(name string) bool {
	return harmless[strings.ReplaceAll(strings.ToLower(name), " ", "_")]
}

// setting notes that name is changed.
func (w *walker) setting(name string) {
	name = strings.ToLower(name)
	w.st.Settings = add(w.st.Settings, name)
	if !HarmlessSetting(name) {
		w.st.class("privilege")
		w.st.Why = add(w.st.Why, "changes the setting "+name)
	}
}

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, f := range strings.Fields(s) {
		m[f] = true
	}
	return m
}
