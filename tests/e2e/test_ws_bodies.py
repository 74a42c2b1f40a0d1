"""Tests that were written for TCP, over WebSocket: the transport is the only difference. Some, from all parts."""

import pytest

import test_attacks
import test_backpressure
import test_hostile
import test_limits
import test_operation
import test_sm_acks
import test_sm_enable
import test_sm_resume
import test_sm_scripted
import test_takeover
from cluster import cluster, redis  # noqa: F401  (fixtures)
from scene import scene, stub, stub_scene, upstream_knife  # noqa: F401  (fixtures)

pytestmark = pytest.mark.servers("prosody")


def over_ws(build, over="ws"):
    """What builds scenes, with clients that speak WebSocket."""
    def built(**how):
        made = build(**how)
        made.over = over
        made.closing.callback(lambda: assert_spoken(made, over))
        return made
    return built


def assert_spoken(made, over):
    """The test was what it claims to be."""
    if made.proxy.running():
        assert made.figure("connections_opened_total", transport=over) > 0
        assert made.figure("connections_opened_total", transport="tcp") == 0


def named(*bodies):
    return pytest.mark.parametrize("body", bodies, ids=lambda body: body.__name__)


@named(
    test_sm_enable.test_both_namespaces_are_offered_after_login_only,
    test_sm_enable.test_what_is_pipelined_behind_enable_counts,
    test_sm_enable.test_bind_and_enable_in_one_packet,
    test_sm_acks.test_nonzas_and_white_space_do_not_count,
    test_sm_acks.test_h_counts_on_over_hundreds,
    test_sm_acks.test_an_answer_too_high_ends_the_stream_and_says_why,
    test_sm_acks.test_a_client_that_answers_nothing_loses_its_connection_not_its_session,
    test_sm_resume.test_what_the_client_had_sent_before_it_closed_still_counts,
    test_sm_resume.test_twenty_resumes_in_a_row,
    test_sm_resume.test_replay_comes_before_what_is_new,
    test_sm_resume.test_after_a_long_detachment_messages_tell_when_they_came,
    test_sm_resume.test_the_old_connection_gets_conflict,
    test_sm_resume.test_what_the_old_connection_had_sent_counts,
    test_sm_resume.test_a_refused_client_may_try_again_on_the_same_stream,
    test_sm_resume.test_login_and_resume_in_one_packet,
    test_sm_resume.test_resume_and_stanzas_in_one_packet,
    test_operation.test_term_drains,
)
def test_in_front_of_a_real_server(scene, body):
    body(over_ws(scene))


@pytest.mark.parametrize("over", ["ws", "wss"])
@named(
    test_sm_scripted.test_the_order_of_both_directions_survives_a_busy_cut,
    test_limits.test_a_client_that_sends_too_many_bytes_is_slowed_and_loses_nothing,
    test_backpressure.test_a_mailbox_larger_than_the_queue_is_delivered_in_portions_and_in_order,
    test_attacks.test_a_slow_reader_gets_all_and_holds_nobody_up,
)
def test_in_front_of_a_stub(stub_scene, stub, body, over):
    body(over_ws(stub_scene, over), stub)


def test_the_login_timeout(stub_scene):
    test_hostile.test_the_login_timeout_is_told_and_counted_and_spares_who_is_in(over_ws(stub_scene))


@named(
    test_takeover.test_a_session_is_resumed_on_another_node_after_its_own_was_killed,
    test_takeover.test_a_living_owner_lets_the_session_go,
)
def test_with_several_nodes(cluster, body):
    body(over_ws(cluster))
