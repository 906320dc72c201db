package sql

import (
	_ "embed"
	"strings"
)

// builtin are the functions of pg_catalog, in PostgreSQL 15, that are stable or immutable in all their forms:
// they change nothing. functions_test.go compares it with a real server's catalog.
//
//go:embed builtin.txt
var builtinText string

var builtin = words(builtinText)

// Volatile functions of pg_catalog by what calling them means. What is in none of the lists, and not in
// builtin, is not known.
var (
	readers = words(`bernoulli clock_timestamp current_query currtid2 currval gen_random_uuid lastval lo_close lo_get lo_lseek
		lo_lseek64 lo_open lo_tell lo_tell64 loread pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock
		pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
		pg_blocking_pids pg_collation_actual_version pg_control_checkpoint pg_control_init pg_control_recovery
		pg_control_system pg_current_logfile pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
		pg_database_collation_actual_version pg_database_size pg_export_snapshot pg_get_backend_memory_contexts
		pg_get_multixact_members pg_get_shmem_allocations pg_get_wal_replay_pause_state
		pg_get_wal_resource_managers pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused
		pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn
		pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage
		pg_partition_ancestors pg_partition_tree pg_prepared_xact pg_relation_size pg_safe_snapshot_blocking_pids
		pg_sequence_last_value pg_show_replication_origin_status pg_sleep pg_sleep_for pg_sleep_until
		pg_stat_clear_snapshot pg_stat_force_next_flush pg_stat_get_recovery_prefetch
		pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
		pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
		pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
		pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated
		pg_stat_have_stats pg_table_size pg_tablespace_size pg_total_relation_size pg_try_advisory_lock
		pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
		pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status random random_normal setseed system
		timeofday txid_status uuidv4 uuidv7`)

	writers = words(`nextval setval lo_creat lo_create lo_from_bytea lo_put lo_truncate lo_truncate64 lo_unlink lowrite pg_notify`)

	files = words(`lo_import lo_export pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_ls_dir pg_ls_logdir
		pg_ls_waldir pg_ls_archive_statusdir pg_ls_tmpdir pg_ls_logicalsnapdir pg_ls_logicalmapdir pg_ls_replslotdir
		pg_ls_summariesdir pg_file_write pg_file_sync pg_file_rename pg_file_unlink pg_logdir_ls pg_hba_file_rules
		pg_ident_file_mappings pg_show_all_file_settings`)

	// Functions that run, or read, what a text given to them says.
	runners = words(`query_to_xml query_to_xml_and_xmlschema query_to_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
		table_to_xml_and_xmlschema table_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema
		database_to_xml database_to_xml_and_xmlschema database_to_xmlschema ts_stat ts_rewrite`)
)

// call notes the call of a function.
func (w *walker) call(parts []string, args []any) {
	if len(parts) == 0 {
		w.st.Obscure("calls a function without a name")
		return
	}
	name := dotted(parts)
	w.st.Functions = add(w.st.Functions, name)
	base := parts[len(parts)-1]
	own := len(parts) == 1 || len(parts) == 2 && parts[0] == "pg_catalog"
	switch {
	case strings.HasPrefix(base, "dblink"):
		w.st.class("exfiltration")
		w.unknown(name)
	case files[base]: // also where an extension put them elsewhere
		w.st.File = true
		w.st.class("privilege", "exfiltration")
		w.st.Why = add(w.st.Why, name+" reaches the server's files")
	case !own && !(len(parts) == 2 && parts[0] == "information_schema"):
		w.unknown(name)
	case base == "set_config":
		w.setConfig(args)
	case runners[base]:
		w.st.Obscure(name + " reads what a text says")
	case writers[base]:
		w.st.class("write")
	case builtin[base], readers[base]:
	case strings.HasPrefix(base, "pg_") || strings.HasPrefix(base, "binary_upgrade_"):
		w.st.class("privilege")
		w.unknown(name)
	default:
		w.unknown(name)
	}
}

// unknown notes a function that is not PostgreSQL's own, or that nobody has looked at.
func (w *walker) unknown(name string) {
	w.st.Unknown = add(w.st.Unknown, name)
}

// setConfig is set_config(name, value, local).
func (w *walker) setConfig(args []any) {
	if len(args) > 0 {
		if name, ok := constant(args[0]); ok {
			w.setting(name)
			if strings.EqualFold(name, "transaction_read_only") {
				w.mode(args[1:min(2, len(args))])
			}
			return
		}
	}
	w.st.Settings = add(w.st.Settings, "*")
	w.st.class("privilege")
	w.st.Obscure("set_config of a setting that is worked out")
}

// Call returns the facts of calling one function by itself, as the fastpath protocol does.
func Call(schema, name string) Statement {
	w := &walker{st: &Statement{Action: "sql:call", Verb: "FASTPATH", Classes: []string{"read"}}}
	w.call([]string{schema, name}, nil)
	return *w.st
}

// IsBuiltin tells whether a function of this name in pg_catalog changes nothing.
func IsBuiltin(name string) bool { return builtin[name] || readers[name] }
