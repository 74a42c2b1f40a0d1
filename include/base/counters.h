/* All metrics in one table: it makes the exposition, its help texts and --describe-metrics. Each worker counts into an
 * array of its own without locks (one writer, relaxed atomics); the reader sums the arrays.
 *
 * To add one: a FAMILY row if the name is new, and METRIC rows right behind each other for its label sets. */
#ifndef HOLDFAST_BASE_COUNTERS_H
#define HOLDFAST_BASE_COUNTERS_H

#include "base/clock.h"
#include <stddef.h>
#include <stdint.h>

/* METRIC_TIME is a gauge that is kept in microseconds and shown in seconds. METRIC_INFO is for counters_add_header()
 * alone: the table has none. */
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_TIME, METRIC_HISTOGRAM, METRIC_INFO };

/* name without the prefix `holdfast_` and without the suffix `_total` of counters; type; help without quotes and
 * backslashes. A name that ends in _seconds or _bytes tells its unit by that. */
#define METRIC_FAMILIES(F)                                                                         \
    F(connections, GAUGE, "Client connections that are open now, by transport")                    \
    F(connections_opened, COUNTER, "Client connections accepted, by transport")                    \
    F(connections_logging_in, GAUGE, "Client connections that have no session yet")                \
    F(legs_closed, COUNTER, "Connections ended, by leg and reason")                                \
    F(logins, COUNTER, "Ends of SASL or XEP-0078 exchanges, by result; refused ones did not reach the server")      \
    F(tls_handshakes, COUNTER, "TLS handshakes with clients, by result")                           \
    F(sessions, GAUGE, "Sessions by state; unmanaged ones have no stream management")              \
    F(sessions_started, COUNTER, "Sessions begun (resource bound)")                                \
    F(sessions_ended, COUNTER, "Sessions ended, by reason")                                        \
    F(sessions_stranded, COUNTER, "Times that a session lost its upstream leg and went on without") \
    F(resumes, COUNTER, "Resume requests, by result")                                              \
    F(stanzas, COUNTER, "Stanzas received, by direction and kind")                                 \
    F(stanza_bytes, COUNTER, "Bytes of the stanzas received, by direction and kind")               \
    F(acks_sent, COUNTER, "XEP-0198 answers sent to clients")                                      \
    F(acks_received, COUNTER, "XEP-0198 answers received from clients")                            \
    F(ack_requests_sent, COUNTER, "XEP-0198 requests sent to clients")                             \
    F(ack_requests_received, COUNTER, "XEP-0198 requests received from clients")                   \
    F(stanzas_replayed, COUNTER, "Unacked stanzas written again after a resumption")               \
    F(stanzas_repeated, COUNTER, "Uplink stanzas sent again on a fresh upstream leg")              \
    F(stanzas_injected, COUNTER, "Downlink stanzas that tell a client what changed while there was no upstream leg") \
    F(restored_stanzas, COUNTER, "Stanzas read from store.file at the start, by where they are") \
    F(unacked_stanzas, GAUGE, "Downlink stanzas that clients have not acked yet")                  \
    F(unacked_bytes, GAUGE, "Bytes of these stanzas")                                              \
    F(unacked_oldest_seconds, TIME, "Age of the oldest of them, 0 without any")                    \
    F(queue_stanzas_limit, GAUGE, "sm.queue_stanzas: of one session, in each direction")           \
    F(queue_limit_bytes, GAUGE, "sm.queue_bytes: of one session, in each direction")               \
    F(parked_stanzas, GAUGE, "Presence and chat states kept beside the queues of detached sessions") \
    F(unconfirmed_stanzas, GAUGE, "Uplink stanzas that the server has not confirmed yet")          \
    F(unconfirmed_bytes, GAUGE, "Bytes of these stanzas")                                          \
    F(unconfirmed_oldest_seconds, TIME, "Age of the oldest of them, 0 without any")                \
    F(downlink_fates, COUNTER, "What became of downlink stanzas")                                  \
    F(uplink_fates, COUNTER, "What became of uplink stanzas")                                      \
    F(mailbox_lent, GAUGE, "Messages of mailboxes that are in a session's unacked queue")          \
    F(mailbox_messages, GAUGE, "Messages kept in mailboxes of accounts")                           \
    F(mailbox_messages_limit, GAUGE, "Messages that one mailbox holds at most")                    \
    F(mailbox_bytes, GAUGE, "Bytes of these messages")                                             \
    F(mailbox_limit_bytes, GAUGE, "Bytes that one mailbox holds at most")                          \
    F(mailbox_doubled, COUNTER, "Messages given to a mailbox that had them already")               \
    F(mailbox_kept, COUNTER, "Messages that sessions gave to mailboxes")                           \
    F(outbox_messages, GAUGE, "Messages kept in outboxes of accounts")                             \
    F(outbox_kept, COUNTER, "Messages put into outboxes: acked to the client, perhaps lost with the server") \
    F(outbox_fates, COUNTER, "What became of messages in outboxes")                                \
    F(tombstones, GAUGE, "Ended sessions whose last h is remembered")                              \
    F(tombstones_limit, GAUGE, "Tombstones that are kept at most, the oldest make room")           \
    F(memory_bytes, GAUGE, "Bytes in queues, mailboxes, rosters and the like")                     \
    F(memory_limit_bytes, GAUGE, "limits.memory, 0 for none")                                      \
    F(connections_limit, GAUGE, "limits.connections, 0 for none")                                  \
    F(connections_per_ip_limit, GAUGE, "limits.connections_per_ip, 0 for none")                    \
    F(sessions_per_account_limit, GAUGE, "sm.sessions_per_account: detached ones")                 \
    F(upstream_up, GAUGE, "1 while at least one server can be reached")                            \
    F(promise_weak, GAUGE, "1 if acks rest on the TCP of the server alone (sm.confirm)")           \
    F(draining, GAUGE, "1 while the node sends its clients away")                                  \
    F(workers, GAUGE, "Threads that run sessions")                                                 \
    F(workers_late, GAUGE, "Workers that did not hand over their figures in time: theirs may not add up") \
    F(reloads, COUNTER, "Reloads of the configuration, by result")                                 \
    F(log_lines_dropped, COUNTER, "Log lines that stderr did not take")                            \
    F(certificate_expiry_timestamp_seconds, GAUGE, "When the first certificate ends, 0 without certificates") \
    F(mailbox_fates, COUNTER, "What became of messages in mailboxes")                              \
    F(barriers, COUNTER, "Barrier pings sent to the server, by result")                            \
    F(echoes, COUNTER, "Messages seen at their recipients, which confirms them and all before; and those waited for in vain") \
    F(receipts, COUNTER, "Delivery receipts sent to the server, by who made them")                 \
    F(message_events, COUNTER, "Message events (XEP-0022) sent to the server, by event and by who made them") \
    F(chat_states, COUNTER, "Chat states (XEP-0085) sent for clients that had vanished")               \
    F(client_pings, COUNTER, "Pings behind messages to clients without stream management: sent, and what came of them") \
    F(legacy_messages, COUNTER, "Messages to clients without stream management, by how much is known of their delivery") \
    F(receipts_withheld, COUNTER, "Delivery receipts and events asked for and not made by the proxy, by reason") \
    F(receipts_swallowed, COUNTER, "Late receipts of clients, and errors that came back to those of the proxy; events too") \
    F(resent_known, COUNTER, "Messages sent again after a failed resumption, known and not passed on") \
    F(answered_for_client, COUNTER, "Server requests answered on behalf of detached clients")      \
    F(store_sessions, GAUGE, "Sessions kept in Redis by this node")                                \
    F(store_commits, COUNTER, "Stanzas that Redis has committed, by direction")                    \
    F(store_commit_seconds, HISTOGRAM, "From a stanza written to Redis to its answer")             \
    F(store_uncommitted_stanzas, GAUGE, "Stanzas in queues that Redis has not committed yet")      \
    F(store_fenced, COUNTER, "Sessions that another node had taken over")                          \
    F(store_claims, COUNTER, "Sessions of other nodes that this one tried to take over, by result") \
    F(store_unreadable, COUNTER, "Texts in Redis that this node could not read, by reason")        \
    F(store_reaped, COUNTER, "Sessions ended since their node was gone")                           \
    F(store_reaped_discarded, COUNTER, "Uplink requests and presence of such sessions, acked and perhaps not processed") \
    F(store_resyncs, COUNTER, "Times that Redis was asked what it holds of a session, by result")  \
    F(store_persistence, GAUGE, "1 for what the weakest Redis server keeps over a crash; all are 0 with store.url memory:") \
    F(store_eviction_unsafe, GAUGE, "1 if a full Redis throws keys away that are in use (maxmemory-policy)") \
    F(store_waiting, GAUGE, "Operations that wait until Redis is back: messages for mailboxes, ends of sessions") \
    F(upstream_dials, COUNTER, "Connections to the server tried, by result")                       \
    F(lookups, COUNTER, "Questions to name servers about upstream servers, by result")             \
    F(relays, GAUGE, "Client connections that are passed on to the node that runs their session")  \
    F(relay_failures, COUNTER, "Clients that could not be passed on to the node that runs their session, by reason") \
    F(relay_ask_seconds, HISTOGRAM, "From a client passed on to another node to the answer of its session") \
    F(relay_bytes, COUNTER, "Bytes between this node and those that run sessions of its clients, by direction") \
    F(peer_refusals, COUNTER, "Connections to the peer port that were refused, by reason")         \
    F(limits_hit, COUNTER, "Times that a limit was met, by limit")                                 \
    F(proxy_headers, COUNTER, "Connections from listen.proxy_from, by what came of their PROXY protocol header") \
    F(backpressure, COUNTER, "Times that reading was stopped because the other side was slow, by leg") \
    F(ack_round_trip_seconds, HISTOGRAM, "From an ack request leaving to the client's answer")     \
    F(barrier_seconds, HISTOGRAM, "From a barrier ping leaving to the server's answer")            \
    F(relay_seconds, HISTOGRAM, "From a stanza read to a stanza written, by direction; one in each turn of a loop") \
    F(login_seconds, HISTOGRAM, "From the connection of a client to its session")                  \
    F(resume_seconds, HISTOGRAM, "From a resume request to its answer")                            \
    F(turn_seconds, HISTOGRAM, "How long one turn of an event loop took")                          \
    F(web_requests, COUNTER, "Requests on listen.ws and listen.wss, by what came of them")          \
    F(redis_connections, GAUGE, "Connections to Redis servers that are up")                        \
    F(redis_reconnects, COUNTER, "Connections to Redis servers made anew after one was lost")       \
    F(redis_commands, COUNTER, "Commands answered by Redis, or in its place, by result")           \
    F(redis_redirects, COUNTER, "Commands sent once more, by why")                                 \
    F(redis_backlog_bytes, GAUGE, "Bytes of commands that Redis has not answered yet")             \
    F(redis_command_seconds, HISTOGRAM, "From a command to its answer by Redis")                   \
    F(loop_lag_seconds, HISTOGRAM, "How much later than due a timer of each event loop ran, once a second")

/* enum constant, family, labels */
#define METRIC_ROWS(M)                                                                             \
    M(connections_tcp, connections, "transport=\"tcp\"")                                           \
    M(connections_tls, connections, "transport=\"tls\"")                                           \
    M(connections_ws, connections, "transport=\"ws\"")                                             \
    M(connections_wss, connections, "transport=\"wss\"")                                           \
    M(connections_relay, connections, "transport=\"relay\"")                                       \
    M(connections_opened_tcp, connections_opened, "transport=\"tcp\"")                             \
    M(connections_opened_tls, connections_opened, "transport=\"tls\"")                             \
    M(connections_opened_ws, connections_opened, "transport=\"ws\"")                               \
    M(connections_opened_wss, connections_opened, "transport=\"wss\"")                             \
    M(connections_opened_relay, connections_opened, "transport=\"relay\"")                         \
    M(connections_logging_in, connections_logging_in, "")                                          \
    M(logins_success, logins, "result=\"success\"")                                                \
    M(logins_failure, logins, "result=\"failure\"")                                                \
    M(logins_refused, logins, "result=\"refused\"")                                                \
    M(tls_handshakes_ok, tls_handshakes, "result=\"ok\"")                                          \
    M(tls_handshakes_failed, tls_handshakes, "result=\"failed\"")                                  \
    M(sessions_attached, sessions, "state=\"attached\"")                                           \
    M(sessions_detached, sessions, "state=\"detached\"")                                           \
    M(sessions_unmanaged, sessions, "state=\"unmanaged\"")                                         \
    M(sessions_started, sessions_started, "")                                                      \
    M(sessions_stranded, sessions_stranded, "")                                                    \
    M(resumes_local, resumes, "result=\"local\"")                                                  \
    M(resumes_moved, resumes, "result=\"moved\"")                                                  \
    M(resumes_relayed, resumes, "result=\"relayed\"")                                              \
    M(resumes_rebuilt, resumes, "result=\"rebuilt\"")                                              \
    M(resumes_expired, resumes, "result=\"expired\"")                                              \
    M(resumes_unknown, resumes, "result=\"unknown\"")                                              \
    M(resumes_refused, resumes, "result=\"refused\"")                                              \
    M(stanzas_up_message, stanzas, "direction=\"uplink\",kind=\"message\"")                        \
    M(stanzas_up_presence, stanzas, "direction=\"uplink\",kind=\"presence\"")                      \
    M(stanzas_up_iq, stanzas, "direction=\"uplink\",kind=\"iq\"")                                  \
    M(stanzas_down_message, stanzas, "direction=\"downlink\",kind=\"message\"")                    \
    M(stanzas_down_presence, stanzas, "direction=\"downlink\",kind=\"presence\"")                  \
    M(stanzas_down_iq, stanzas, "direction=\"downlink\",kind=\"iq\"")                              \
    M(stanza_bytes_up_message, stanza_bytes, "direction=\"uplink\",kind=\"message\"")              \
    M(stanza_bytes_up_presence, stanza_bytes, "direction=\"uplink\",kind=\"presence\"")            \
    M(stanza_bytes_up_iq, stanza_bytes, "direction=\"uplink\",kind=\"iq\"")                        \
    M(stanza_bytes_down_message, stanza_bytes, "direction=\"downlink\",kind=\"message\"")          \
    M(stanza_bytes_down_presence, stanza_bytes, "direction=\"downlink\",kind=\"presence\"")        \
    M(stanza_bytes_down_iq, stanza_bytes, "direction=\"downlink\",kind=\"iq\"")                    \
    M(acks_sent, acks_sent, "")                                                                    \
    M(acks_received, acks_received, "")                                                            \
    M(ack_requests_sent, ack_requests_sent, "")                                                    \
    M(ack_requests_received, ack_requests_received, "")                                            \
    M(stanzas_replayed, stanzas_replayed, "")                                                      \
    M(stanzas_repeated, stanzas_repeated, "")                                                      \
    M(stanzas_injected, stanzas_injected, "")                                                      \
    M(restored_down, restored_stanzas, "queue=\"downlink\"")                                       \
    M(restored_up, restored_stanzas, "queue=\"uplink\"")                                           \
    M(restored_mail, restored_stanzas, "queue=\"mailbox\"")                                        \
    M(restored_out, restored_stanzas, "queue=\"outbox\"")                                          \
    M(unacked_stanzas, unacked_stanzas, "")                                                        \
    M(unacked_bytes, unacked_bytes, "")                                                            \
    M(unacked_oldest, unacked_oldest_seconds, "")                                                  \
    M(queue_stanzas_limit, queue_stanzas_limit, "")                                                \
    M(queue_limit_bytes, queue_limit_bytes, "")                                                    \
    M(parked_stanzas, parked_stanzas, "")                                                          \
    M(unconfirmed_stanzas, unconfirmed_stanzas, "")                                                \
    M(unconfirmed_bytes, unconfirmed_bytes, "")                                                    \
    M(unconfirmed_oldest, unconfirmed_oldest_seconds, "")                                          \
    M(down_acked, downlink_fates, "fate=\"acked\"")                                                \
    M(down_relayed, downlink_fates, "fate=\"relayed\"")                                            \
    M(down_mailbox, downlink_fates, "fate=\"mailbox\"")                                            \
    M(down_kept, downlink_fates, "fate=\"kept\"")                                                  \
    M(down_bounced, downlink_fates, "fate=\"bounced\"")                                            \
    M(down_swallowed, downlink_fates, "fate=\"swallowed\"")                                        \
    M(down_purged, downlink_fates, "fate=\"purged\"")                                              \
    M(down_discarded_presence, downlink_fates, "fate=\"discarded_presence\"")                      \
    M(down_discarded_chat_state, downlink_fates, "fate=\"discarded_chat_state\"")                  \
    M(down_discarded_groupchat, downlink_fates, "fate=\"discarded_groupchat\"")                    \
    M(down_discarded_iq, downlink_fates, "fate=\"discarded_iq\"")                                  \
    M(down_discarded_message, downlink_fates, "fate=\"discarded_message\"")                        \
    M(up_confirmed, uplink_fates, "fate=\"confirmed\"")                                            \
    M(up_swallowed, uplink_fates, "fate=\"swallowed\"")                                            \
    M(up_relayed, uplink_fates, "fate=\"relayed\"")                                                \
    M(up_returned, uplink_fates, "fate=\"returned\"")                                              \
    M(up_kept, uplink_fates, "fate=\"kept\"")                                                      \
    M(up_bounced, uplink_fates, "fate=\"bounced\"")                                                \
    M(mailbox_lent, mailbox_lent, "")                                                              \
    M(mailbox_messages, mailbox_messages, "")                                                        \
    M(mailbox_messages_limit, mailbox_messages_limit, "")                                          \
    M(mailbox_bytes, mailbox_bytes, "")                                                              \
    M(mailbox_limit_bytes, mailbox_limit_bytes, "")                                                \
    M(mailbox_doubled, mailbox_doubled, "")                                                          \
    M(mailbox_kept, mailbox_kept, "")                                                              \
    M(outbox_messages, outbox_messages, "")                                                          \
    M(outbox_kept, outbox_kept, "")                                                                  \
    M(outbox_sent, outbox_fates, "fate=\"sent\"")                                                    \
    M(outbox_expired, outbox_fates, "fate=\"expired\"")                                              \
    M(outbox_overflown, outbox_fates, "fate=\"overflown\"")                                          \
    M(outbox_purged, outbox_fates, "fate=\"purged\"")                                                \
    M(tombstones, tombstones, "")                                                                    \
    M(tombstones_limit, tombstones_limit, "")                                                      \
    M(memory_bytes, memory_bytes, "")                                                                \
    M(memory_limit_bytes, memory_limit_bytes, "")                                                    \
    M(connections_limit, connections_limit, "")                                                      \
    M(connections_per_ip_limit, connections_per_ip_limit, "")                                      \
    M(sessions_per_account_limit, sessions_per_account_limit, "")                                  \
    M(upstream_up, upstream_up, "")                                                                  \
    M(promise_weak, promise_weak, "")                                                                \
    M(draining, draining, "")                                                                        \
    M(workers, workers, "")                                                                        \
    M(workers_late, workers_late, "")                                                              \
    M(reloads_ok, reloads, "result=\"ok\"")                                                        \
    M(reloads_failed, reloads, "result=\"failed\"")                                                \
    M(log_lines_dropped, log_lines_dropped, "")                                                    \
    M(certificate_expiry_timestamp_seconds, certificate_expiry_timestamp_seconds, "")                \
    M(mailbox_delivered, mailbox_fates, "fate=\"delivered\"")                                      \
    M(mailbox_expired, mailbox_fates, "fate=\"expired\"")                                          \
    M(mailbox_overflown, mailbox_fates, "fate=\"overflown\"")                                      \
    M(mailbox_purged, mailbox_fates, "fate=\"purged\"")                                            \
    M(barriers_answered, barriers, "result=\"answered\"")                                          \
    M(barriers_timeout, barriers, "result=\"timeout\"")                                            \
    M(barriers_lost, barriers, "result=\"lost\"")                                                  \
    M(echoes_heard, echoes, "result=\"heard\"")                                                    \
    M(echoes_missed, echoes, "result=\"missed\"")                                                  \
    M(receipts_proxy, receipts, "source=\"proxy\"")                                                \
    M(receipts_client, receipts, "source=\"client\"")                                              \
    M(message_events_delivered_proxy, message_events, "event=\"delivered\",source=\"proxy\"")                    \
    M(message_events_delivered_client, message_events, "event=\"delivered\",source=\"client\"")                  \
    M(message_events_offline_proxy, message_events, "event=\"offline\",source=\"proxy\"")                        \
    M(chat_states_paused, chat_states, "state=\"paused\"")                                         \
    M(chat_states_gone, chat_states, "state=\"gone\"")                                             \
    M(client_pings_sent, client_pings, "result=\"sent\"")                                          \
    M(client_pings_answered, client_pings, "result=\"answered\"")                                  \
    M(client_pings_ignored, client_pings, "result=\"ignored\"")                                    \
    M(legacy_confirmed, legacy_messages, "delivery=\"confirmed\"")                                 \
    M(legacy_assumed, legacy_messages, "delivery=\"assumed\"")                                     \
    M(legacy_unconfirmed, legacy_messages, "delivery=\"unconfirmed\"")                             \
    M(receipts_withheld_client, receipts_withheld, "reason=\"client\"")                            \
    M(receipts_withheld_presence, receipts_withheld, "reason=\"presence\"")                        \
    M(receipts_withheld_repeated, receipts_withheld, "reason=\"repeated\"")                        \
    M(receipts_withheld_account, receipts_withheld, "reason=\"account\"")                          \
    M(receipts_withheld_limit, receipts_withheld, "reason=\"limit\"")                              \
    M(receipts_withheld_unacked, receipts_withheld, "reason=\"unacked\"")                          \
    M(receipts_withheld_upstream, receipts_withheld, "reason=\"upstream\"")                        \
    M(receipts_swallowed_late, receipts_swallowed, "what=\"late\"")                                \
    M(receipts_swallowed_error, receipts_swallowed, "what=\"error\"")                              \
    M(resent_known, resent_known, "")                                                              \
    M(answered_for_client, answered_for_client, "")                                                \
    M(store_sessions, store_sessions, "")                                                          \
    M(store_commits_down, store_commits, "direction=\"downlink\"")                                 \
    M(store_commits_up, store_commits, "direction=\"uplink\"")                                     \
    M(store_commit_time, store_commit_seconds, "")                                                 \
    M(store_uncommitted, store_uncommitted_stanzas, "")                                            \
    M(store_fenced, store_fenced, "")                                                              \
    M(store_claims_won, store_claims, "result=\"won\"")                                            \
    M(store_claims_lost, store_claims, "result=\"lost\"")                                          \
    M(store_claims_unreadable, store_claims, "result=\"unreadable\"")                              \
    M(store_claims_stale, store_claims, "result=\"stale\"")                                        \
    M(store_unreadable_locked, store_unreadable, "reason=\"no_key\"")                              \
    M(store_unreadable_damaged, store_unreadable, "reason=\"damaged\"")                            \
    M(store_reaped, store_reaped, "")                                                              \
    M(store_reaped_up_discarded, store_reaped_discarded, "")                                       \
    M(store_resyncs_same, store_resyncs, "result=\"same\"")                                        \
    M(store_resyncs_rewritten, store_resyncs, "result=\"rewritten\"")                              \
    M(store_persistence_unknown, store_persistence, "level=\"unknown\"")                           \
    M(store_persistence_none, store_persistence, "level=\"none\"")                                 \
    M(store_persistence_rdb, store_persistence, "level=\"snapshots\"")                             \
    M(store_persistence_everysec, store_persistence, "level=\"everysec\"")                         \
    M(store_persistence_always, store_persistence, "level=\"always\"")                             \
    M(store_eviction_unsafe, store_eviction_unsafe, "")                                            \
    M(store_waiting, store_waiting, "")                                                            \
    M(upstream_dials_ok, upstream_dials, "result=\"ok\"")                                          \
    M(upstream_dials_failed, upstream_dials, "result=\"failed\"")                                  \
    M(lookups_ok, lookups, "result=\"ok\"")                                                        \
    M(lookups_not_found, lookups, "result=\"not_found\"")                                          \
    M(lookups_failed, lookups, "result=\"failed\"")                                                \
    M(relays, relays, "")                                                                          \
    M(relay_failures_unreachable, relay_failures, "reason=\"unreachable\"")                        \
    M(relay_failures_silent, relay_failures, "reason=\"silent\"")                                  \
    M(relay_failures_refused, relay_failures, "reason=\"refused\"")                                \
    M(relay_failures_broken, relay_failures, "reason=\"broken\"")                                  \
    M(relay_ask_time, relay_ask_seconds, "")                                                       \
    M(relay_bytes_up, relay_bytes, "direction=\"uplink\"")                                         \
    M(relay_bytes_down, relay_bytes, "direction=\"downlink\"")                                     \
    M(peer_refused_handshake, peer_refusals, "reason=\"handshake\"")                               \
    M(peer_refused_late, peer_refusals, "reason=\"late\"")                                         \
    M(peer_refused_hello, peer_refusals, "reason=\"hello\"")                                       \
    M(peer_refused_version, peer_refusals, "reason=\"version\"")                                   \
    M(peer_refused_hops, peer_refusals, "reason=\"hops\"")                                         \
    M(peer_refused_draining, peer_refusals, "reason=\"draining\"")                                 \
    M(peer_refused_limit, peer_refusals, "reason=\"limit\"")                                       \
    M(peer_refused_session, peer_refusals, "reason=\"session\"")                                   \
    M(limit_connections, limits_hit, "limit=\"connections\"")                                      \
    M(limit_connections_per_ip, limits_hit, "limit=\"connections_per_ip\"")                        \
    M(limit_stanza_bytes, limits_hit, "limit=\"stanza_bytes\"")                                    \
    M(limit_stanza_depth, limits_hit, "limit=\"stanza_depth\"")                                    \
    M(limit_attributes, limits_hit, "limit=\"attributes\"")                                        \
    M(limit_tag_bytes, limits_hit, "limit=\"tag_bytes\"")                                          \
    M(limit_login_timeout, limits_hit, "limit=\"login_timeout\"")                                  \
    M(limit_login_rate, limits_hit, "limit=\"login_rate\"")                                        \
    M(limit_queue, limits_hit, "limit=\"queue\"")                                                  \
    M(limit_memory, limits_hit, "limit=\"memory\"")                                                \
    M(limit_sessions_per_account, limits_hit, "limit=\"sessions_per_account\"")                    \
    M(limit_descriptors, limits_hit, "limit=\"descriptors\"")                                      \
    M(limit_server_stanza, limits_hit, "limit=\"server_stanza\"")                                  \
    M(limit_login_bytes, limits_hit, "limit=\"login_bytes\"")                                      \
    M(limit_bytes_per_second, limits_hit, "limit=\"bytes_per_second\"")                            \
    M(limit_stanzas_per_second, limits_hit, "limit=\"stanzas_per_second\"")                        \
    M(limit_login_failures_per_ip, limits_hit, "limit=\"login_failures_per_ip\"")                  \
    M(limit_login_failures_per_account, limits_hit, "limit=\"login_failures_per_account\"")        \
    M(proxy_headers_told, proxy_headers, "result=\"told\"")                                        \
    M(proxy_headers_local, proxy_headers, "result=\"local\"")                                      \
    M(proxy_headers_probe, proxy_headers, "result=\"probe\"")                                      \
    M(proxy_headers_cut, proxy_headers, "result=\"cut\"")                                          \
    M(proxy_headers_late, proxy_headers, "result=\"late\"")                                        \
    M(proxy_headers_bad, proxy_headers, "result=\"bad\"")                                          \
    M(web_upgraded, web_requests, "result=\"upgraded\"")                                           \
    M(web_discovery, web_requests, "result=\"discovery\"")                                         \
    M(web_not_found, web_requests, "result=\"not_found\"")                                         \
    M(web_origin, web_requests, "result=\"origin\"")                                               \
    M(web_refused, web_requests, "result=\"refused\"")                                             \
    M(web_no_room, web_requests, "result=\"no_room\"")                                             \
    M(web_late, web_requests, "result=\"late\"")                                                   \
    M(web_gone, web_requests, "result=\"gone\"")                                                   \
    M(backpressure_client, backpressure, "leg=\"client\"")                                         \
    M(backpressure_upstream, backpressure, "leg=\"upstream\"")                                     \
    M(redis_connections, redis_connections, "")                                                    \
    M(redis_reconnects, redis_reconnects, "")                                                      \
    M(redis_commands_done, redis_commands, "result=\"done\"")                                      \
    M(redis_commands_refused, redis_commands, "result=\"refused\"")                                \
    M(redis_commands_fault, redis_commands, "result=\"fault\"")                                    \
    M(redis_commands_away, redis_commands, "result=\"away\"")                                      \
    M(redis_commands_unknown, redis_commands, "result=\"unknown\"")                                \
    M(redis_redirects_moved, redis_redirects, "why=\"moved\"")                                     \
    M(redis_redirects_ask, redis_redirects, "why=\"ask\"")                                         \
    M(redis_redirects_again, redis_redirects, "why=\"moving\"")                                    \
    M(redis_redirects_script, redis_redirects, "why=\"script\"")                                   \
    M(redis_backlog, redis_backlog_bytes, "")                                                      \
    M(redis_command_time, redis_command_seconds, "")                                               \
    M(ack_round_trip, ack_round_trip_seconds, "")                                                  \
    M(barrier_lag, barrier_seconds, "")                                                            \
    M(relay_up, relay_seconds, "direction=\"uplink\"")                                             \
    M(relay_down, relay_seconds, "direction=\"downlink\"")                                         \
    M(login_time, login_seconds, "")                                                               \
    M(resume_time, resume_seconds, "")                                                             \
    M(turn_time, turn_seconds, "")                                                                 \
    M(loop_lag, loop_lag_seconds, "")

/* Why a leg or a session ended: a closed set, the same words in logs and metrics. R(enum constant, word) */
#define CLOSE_REASONS(R)                                                                           \
    R(CLIENT_END, client_end)           /* the client's </stream:stream> */                        \
    R(SERVER_END, server_end)           /* the server's </stream:stream> or stream error */        \
    R(PEER_FIN, peer_fin)                                                                          \
    R(PEER_RESET, peer_reset)                                                                      \
    R(PEER_TIMEOUT, peer_timeout)       /* the kernel gave up */                                   \
    R(TLS_FAILED, tls_failed)                                                                      \
    R(ACK_TIMEOUT, ack_timeout)         /* sm.ack_timeout */                                       \
    R(LOGIN_TIMEOUT, login_timeout)     /* limits.login_timeout */                                 \
    R(BAD_STREAM, bad_stream)           /* not XMPP, or XMPP out of place; see the stream error */ \
    R(LIMIT, limit)                     /* a limit of section limits.* */                          \
    R(HANDLED_TOO_HIGH, handled_too_high)                                                          \
    R(REPLACED, replaced)               /* the session was resumed by another connection */        \
    R(STARTTLS, starttls)               /* an upstream leg opened in clear, given up for one inside TLS */ \
    R(RESUMED, resumed)                 /* a fresh upstream leg that a resumption did not need */  \
    R(UPSTREAM_UNREACHABLE, upstream_unreachable)                                                  \
    R(UPSTREAM_LOST, upstream_lost)     /* the upstream leg broke */                               \
    R(UPSTREAM_CONFLICT, upstream_conflict) /* someone else bound the same resource */             \
    R(CONFIRM_TIMEOUT, confirm_timeout) /* sm.confirm_timeout */                                   \
    R(RESOURCE_TAKEN, resource_taken)   /* a rebuild could not bind the resource again */          \
    R(EXPIRED, expired)                 /* not resumed within max */                               \
    R(QUEUE_FULL, queue_full)           /* detached, and full for sm.full_grace */                 \
    R(EVICTED, evicted)                 /* sm.sessions_per_account */                              \
    R(CLIENT_GONE, client_gone)         /* its client leg ended and it was not resumable */        \
    R(SESSION_END, session_end)         /* a leg: its session ended */                             \
    R(DRAIN, drain)                     /* the proxy wants the client elsewhere */                 \
    R(ADMIN, admin)                                                                                \
    R(PURGED, purged)                   /* a detached session whose account was purged */          \
    R(SHUTDOWN, shutdown)                                                                          \
    R(FENCED, fenced)                   /* another node has taken the session over */              \
    R(RELEASED, released)               /* let go, for another node to take over */                \
    R(OWNER_LOST, owner_lost)           /* a relayed client: the node that runs its session */     \
    R(STORE_AWAY, store_away)           /* only the store knows its session; or the lease ran out */ \
    R(INTERNAL, internal)

#define CLOSE_REASON_ENUM_(upper, lower) CLOSE_##upper,
enum close_reason { CLOSE_REASONS(CLOSE_REASON_ENUM_) CLOSE_REASON_COUNT };

/* Three rows for each reason. X-macros do not nest over M, so these are lists of their own; the enum and the tables below
 * put them between the others. */
#define CLOSE_CLIENT_ENUM_(upper, lower) METRIC_close_client_##lower,
#define CLOSE_UPSTREAM_ENUM_(upper, lower) METRIC_close_upstream_##lower,
#define CLOSE_SESSION_ENUM_(upper, lower) METRIC_session_end_##lower,
#define METRIC_ENUM_(id, family, labels) METRIC_##id,

enum metric {
    METRIC_ROWS(METRIC_ENUM_)
    /* in the order of enum close_reason */
    CLOSE_REASONS(CLOSE_CLIENT_ENUM_) CLOSE_REASONS(CLOSE_UPSTREAM_ENUM_) CLOSE_REASONS(CLOSE_SESSION_ENUM_) METRICS
};

const char *close_reason_name(enum close_reason reason); /* "peer_fin" */

#define METRIC_BUCKETS 19 /* upper bounds from 100 us to 60 s (table in counters.c), the last is +Inf */

struct counters; /* one for each worker */

struct counters *counters_new(void);
void counters_free(struct counters *c);

/* By the owning thread only. */
void count_add(struct counters *c, enum metric m, int64_t n); /* counters and gauges; gauges take n < 0 */
static inline void count(struct counters *c, enum metric m)
{
    count_add(c, m, 1);
}
void count_set(struct counters *c, enum metric m, int64_t value);  /* gauges, and counters kept elsewhere */
void count_observe(struct counters *c, enum metric m, usec value); /* histograms */
static inline enum metric metric_close_client(enum close_reason r)
{
    return (enum metric)(METRIC_close_client_client_end + (int)r);
}
static inline enum metric metric_close_upstream(enum close_reason r)
{
    return (enum metric)(METRIC_close_upstream_client_end + (int)r);
}
static inline enum metric metric_session_end(enum close_reason r)
{
    return (enum metric)(METRIC_session_end_client_end + (int)r);
}

/* All that `from` holds now. By the thread that owns `from`, between two events: then its figures agree. */
void counters_copy(struct counters *to, const struct counters *from);
/* From any thread: the sum over n arrays; of a histogram how many values it has observed. */
int64_t counters_sum(struct counters *const *c, size_t n, enum metric m);

struct buf;
/* The metadata lines of one family, for those who expose figures of their own beside the table: `name` in full but
 * without `_total` or `_info`; help without quotes and backslashes. The TYPE line is the first. */
void counters_add_header(struct buf *out, const char *name, enum metric_type type, const char *help);
/* OpenMetrics text of all families (without the closing `# EOF`), summed over n arrays. */
void counters_expose(struct buf *out, struct counters *const *c, size_t n);
/* JSON object members `"name{labels}":value` of all counters and gauges, without the braces; names as in the table. */
void counters_expose_json(struct buf *out, struct counters *const *c, size_t n);
/* A line of counters_describe, for figures beside the table; name in full, with its label names: "x_total{a,b}". */
void counters_add_description(struct buf *out, const char *name, enum metric_type type, const char *help);
/* One line per family for people: name and label names, type, help. */
void counters_describe(struct buf *out);

#endif
