"""Transfers on their way out."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2d.ledger import (
    AmbiguousError,
    Answered,
    ClaimLostError,
    Direction,
    FileIdentity,
    IllegalMoveError,
    Kind,
    Ledger,
    Partner,
    Traffic,
    Transfer,
    TransferState,
    UnknownError,
)

SECOND = timedelta(seconds=1)

LEASE = timedelta(seconds=60)


@pytest.fixture
def claimed(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> Transfer:
    ledger.transfers.queue(files.outgoing(partner), now)
    transfer = ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)
    assert transfer is not None
    return transfer


def test_a_queued_file_comes_back_as_it_was_given(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    queued = ledger.transfers.queue(files.outgoing(partner), now)
    assert ledger.transfers.get(queued.id) == queued
    assert (queued.date, queued.time, queued.state) == ("20260304", "1230150001", TransferState.QUEUED)
    assert ledger.transfers.find(Direction.OUT, queued.key) == queued


@pytest.mark.rfc("5.3.3")
@pytest.mark.interop(12)
def test_files_of_one_second_and_name_are_counted(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    same = [ledger.transfers.queue(files.outgoing(partner), now).time for _ in range(3)]
    other_name = ledger.transfers.queue(files.outgoing(partner, "OTHER"), now).time
    assert same == ["1230150001", "1230150002", "1230150003"]
    assert other_name == "1230150001"


@pytest.mark.interop(12)
@pytest.mark.parametrize("level", [1, 2])
def test_where_no_counter_is_carried_each_second_serves_one_file(
    ledger: Ledger, partner: Partner, files: Any, now: datetime, level: int
) -> None:
    counted = ledger.transfers.queue(files.outgoing(partner), now)
    ledger.partners.change(partner.id, level=level)
    stamps = [ledger.transfers.queue(files.outgoing(partner), now + number * SECOND).time for number in (0, 0, 10, 10)]
    assert counted.time == "1230150001"
    assert stamps == ["1230160000", "1230170000", "1230250000", "1230260000"]
    assert ledger.transfers.queue(files.outgoing(partner, "OTHER"), now).time == "1230150000"


def test_a_second_for_one_file_may_be_one_of_the_next_day(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.partners.change(partner.id, level=1)
    last = now.replace(hour=23, minute=59, second=59)
    stamps = [ledger.transfers.queue(files.outgoing(partner), last) for _ in range(2)]
    assert [(each.date, each.time) for each in stamps] == [("20260304", "2359590000"), ("20260305", "0000000000")]


def test_a_forwarded_stamp_that_is_no_time_is_no_obstacle(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.partners.change(partner.id, level=1)
    forwarded = ledger.transfers.queue(files.outgoing(partner), now)
    with ledger._database.writing() as connection:
        stamp = "update transfers set date = '99999999', time = '9999990000', forwarded_from = 'x' where id = ?"
        connection.exec_driver_sql(stamp, (forwarded.id,))
    assert ledger.transfers.queue(files.outgoing(partner), now).time == "1230150000"


def test_a_new_stamp_for_a_file_that_was_sent_has_no_counter_either(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.partners.change(partner.id, level=2)
    queued = ledger.transfers.queue(files.outgoing(partner), now)
    ledger.transfers.cancel(queued.id, now)
    assert ledger.transfers.retry(queued.id, now, new_stamp=True).time == "1230160000"


def sent(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> Transfer:
    transfer = ledger.transfers.queue(files.outgoing(partner), now)
    ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)
    return ledger.transfers.sent(transfer.id, now)


def test_a_key_without_counter_is_the_only_file_sent_within_its_second(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    one = sent(ledger, partner, files, now)
    ledger.transfers.queue(files.outgoing(partner), now)  # it was never sent
    key = replace(one.key, time="1230150000")
    assert ledger.transfers.acknowledged(key, now, in_full=True) is None
    for news in (True, False):
        answered = ledger.transfers.acknowledged(key, now, partner_id=partner.id, in_full=True, counted=False)
        assert answered is not None
        assert (answered.transfer.id, answered.news) == (one.id, news)
    for elsewhere in ({"time": "1230160000"}, {"dataset": "OTHER"}, {"date": "20260305"}):
        assert ledger.transfers.acknowledged(replace(key, **elsewhere), now, in_full=True, counted=False) is None


@pytest.mark.parametrize("answered", [False, True])
def test_a_key_without_counter_is_of_no_file_where_several_were_sent_within_its_second(
    ledger: Ledger, partner: Partner, files: Any, now: datetime, *, answered: bool
) -> None:
    one, other = (sent(ledger, partner, files, now) for _ in range(2))
    if answered:
        ledger.transfers.acknowledged(one.key, now)
    before = [ledger.transfers.get(each.id) for each in (one, other)]
    key = replace(one.key, time="1230150000")
    with pytest.raises(AmbiguousError):
        ledger.transfers.acknowledged(key, now, partner_id=partner.id, in_full=True, counted=False)
    with pytest.raises(AmbiguousError):
        ledger.transfers.refused(key, now, "NERP 34", "", partner_id=partner.id, in_full=True, counted=False)
    assert [ledger.transfers.get(each.id) for each in (one, other)] == before


def test_a_key_without_counter_is_of_no_file_either_where_one_of_several_has_a_whole_second(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.partners.change(partner.id, level=1)
    whole = sent(ledger, partner, files, now)
    ledger.partners.change(partner.id, level=5)
    sent(ledger, partner, files, now)
    with pytest.raises(AmbiguousError):
        ledger.transfers.acknowledged(whole.key, now, in_full=True, counted=False)


def test_files_for_a_partner_from_which_we_only_receive_are_no_reason_to_call(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.transfers.queue(files.outgoing(partner), now)
    for mode, waiting in ((Traffic.RECEIVE, set()), (Traffic.SEND, {partner.id}), (Traffic.BOTH, {partner.id})):
        ledger.partners.change(partner.id, mode=mode)
        assert ledger.transfers.partners_waiting(now) == waiting


def test_a_used_up_second_sends_the_file_on_to_the_next(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    last = ledger.transfers.queue(files.outgoing(partner), now)
    with ledger._database.writing() as connection:
        connection.exec_driver_sql("update transfers set time = '1230159999' where id = ?", (last.id,))
    following = [ledger.transfers.queue(files.outgoing(partner), now).time for _ in range(2)]
    assert following == ["1230160001", "1230160002"]


def test_the_stamp_goes_over_midnight(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    late = now.replace(hour=23, minute=59, second=59)
    last = ledger.transfers.queue(files.outgoing(partner), late)
    with ledger._database.writing() as connection:
        connection.exec_driver_sql("update transfers set time = '2359599999' where id = ?", (last.id,))
    following = ledger.transfers.queue(files.outgoing(partner), late)
    assert (following.date, following.time) == ("20260305", "0000000001")


def test_stamps_are_unique_over_two_processes_sending_at_once(
    url: str, ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    second = Ledger.open(url)
    threads = [
        threading.Thread(target=lambda one=one: [one.transfers.queue(files.outgoing(partner), now) for _ in range(60)])
        for one in (ledger, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()
    stamps = [(transfer.date, transfer.time) for transfer in ledger.transfers.list(limit=200)]
    assert len(stamps) == len(set(stamps)) == 120


def test_the_certificate_exchange_goes_first_then_the_oldest(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    for dataset in ("FIRST", "SECOND"):
        ledger.transfers.queue(files.outgoing(partner, dataset), now)
    ledger.transfers.queue(files.outgoing(partner, "ODETTE_CERTIFICATE_DELIVER", Kind.EXCHANGE), now)
    order = [ledger.transfers.claim_next(partner.id, "session-1", now, LEASE) for _ in range(4)]
    assert [transfer and transfer.dataset for transfer in order] == [
        "ODETTE_CERTIFICATE_DELIVER",
        "FIRST",
        "SECOND",
        None,
    ]


def test_a_session_may_ask_for_the_certificate_exchange_only(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.transfers.queue(files.outgoing(partner), now)
    assert ledger.transfers.claim_next(partner.id, "session-1", now, LEASE, kind=Kind.EXCHANGE) is None


def test_a_postponed_file_waits_for_its_time(
    ledger: Ledger, partner: Partner, claimed: Transfer, now: datetime
) -> None:
    postponed = ledger.transfers.requeue(claimed.id, now, now + LEASE, "SFNA 06")
    assert (postponed.state, postponed.text, postponed.claim_owner) == (TransferState.QUEUED, "SFNA 06", None)
    assert ledger.transfers.claim_next(partner.id, "session-1", now, LEASE) is None
    assert ledger.transfers.partners_waiting(now) == set()
    assert ledger.transfers.partners_waiting(now + LEASE) == {partner.id}
    again = ledger.transfers.claim_next(partner.id, "session-1", now + LEASE, LEASE)
    assert again is not None
    assert again.attempts == 2


def test_a_claim_is_held_until_its_lease_runs_out_and_then_lost(
    ledger: Ledger, partner: Partner, claimed: Transfer, now: datetime
) -> None:
    assert ledger.transfers.claim_next(partner.id, "session-2", now + LEASE, LEASE) is None
    ledger.transfers.renew(claimed.id, "session-1", now, 2 * LEASE)
    assert ledger.transfers.claim_next(partner.id, "session-2", now + LEASE + SECOND, LEASE) is None
    taken = ledger.transfers.claim_next(partner.id, "session-2", now + 2 * LEASE + SECOND, LEASE)
    assert taken is not None
    assert (taken.id, taken.claim_owner, taken.state) == (claimed.id, "session-2", TransferState.SENDING)
    for late in (
        lambda: ledger.transfers.renew(claimed.id, "session-1", now, LEASE),
        lambda: ledger.transfers.efid_going(claimed.id, "session-1"),
        lambda: ledger.transfers.sent(claimed.id, now, owner="session-1"),
    ):
        with pytest.raises(ClaimLostError):
            late()
    assert ledger.transfers.get(claimed.id) == taken


def test_a_file_left_behind_by_a_session_is_called_for(
    ledger: Ledger, partner: Partner, claimed: Transfer, now: datetime
) -> None:
    assert ledger.transfers.partners_waiting(now + LEASE) == set()
    assert ledger.transfers.partners_waiting(now + LEASE + SECOND) == {partner.id}
    assert ledger.transfers.claim_next(partner.id, "session-2", now + LEASE + SECOND, LEASE) is not None


def test_a_released_file_is_due_at_once_and_no_attempt_counts(
    ledger: Ledger, partner: Partner, claimed: Transfer, files: Any, now: datetime
) -> None:
    ledger.transfers.queue(files.outgoing(partner, "OTHER"), now)
    others = ledger.transfers.claim_next(partner.id, "session-10", now, LEASE)
    assert others is not None
    (released,) = ledger.transfers.release("session-1", now + SECOND)
    assert (released.id, released.state, released.claim_owner) == (claimed.id, TransferState.QUEUED, None)
    assert (released.attempts, released.next_attempt_at) == (0, None)
    assert ledger.transfers.partners_waiting(now + SECOND) == {partner.id}
    assert ledger.transfers.release("session-1", now + SECOND) == []
    assert ledger.transfers.get(others.id) == others


def test_a_released_file_may_have_to_wait(ledger: Ledger, claimed: Transfer, now: datetime) -> None:
    ledger.transfers.release("session-1", now, next_attempt_at=now + LEASE)
    assert ledger.transfers.partners_waiting(now) == set()
    assert ledger.transfers.get(claimed.id).next_attempt_at == now + LEASE


def test_what_another_session_has_taken_over_is_not_released(
    ledger: Ledger, partner: Partner, claimed: Transfer, now: datetime
) -> None:
    taken = ledger.transfers.claim_next(partner.id, "session-2", now + LEASE + SECOND, LEASE)
    assert ledger.transfers.release("session-1", now + LEASE + SECOND) == []
    assert ledger.transfers.get(claimed.id) == taken


def test_no_file_is_claimed_twice_by_two_processes(
    url: str, ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    queued = [ledger.transfers.queue(files.outgoing(partner, f"F{n}"), now).id for n in range(100)]
    claims: dict[str, list[str]] = {"a": [], "b": []}
    second = Ledger.open(url)

    def work(name: str, own: Ledger) -> None:
        while (transfer := own.transfers.claim_next(partner.id, name, now, LEASE)) is not None:
            claims[name].append(transfer.id)

    threads = [threading.Thread(target=work, args=args) for args in (("a", ledger), ("b", second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()
    assert sorted(claims["a"] + claims["b"]) == queued


def test_sent_and_acknowledged_is_the_usual_way(
    ledger: Ledger, claimed: Transfer, now: datetime, partner: Partner
) -> None:
    ledger.transfers.efid_going(claimed.id, "session-1")
    assert ledger.transfers.get(claimed.id).efid_sent
    sent = ledger.transfers.sent(claimed.id, now, owner="session-1")
    assert (sent.state, sent.sent_at, sent.claim_owner) == (TransferState.SENT, now, None)
    answered = ledger.transfers.acknowledged(claimed.key, now + SECOND, partner_id=partner.id)
    assert answered is not None
    done = answered.transfer
    assert (done.state, done.ended_at, answered.news) == (TransferState.ACKNOWLEDGED, now + SECOND, True)


def test_an_end_response_that_repeats_or_contradicts_the_first_is_no_news(
    ledger: Ledger, claimed: Transfer, now: datetime
) -> None:
    first = ledger.transfers.acknowledged(claimed.key, now)
    assert first is not None
    late = Answered(transfer=first.transfer, news=False)
    assert ledger.transfers.acknowledged(claimed.key, now + SECOND) == late
    assert ledger.transfers.refused(claimed.key, now + SECOND, "NERP 34", "too late") == late
    assert ledger.transfers.get(claimed.id) == first.transfer


def test_an_end_response_overtakes_the_session_that_still_sends(
    ledger: Ledger, claimed: Transfer, now: datetime
) -> None:
    answered = ledger.transfers.acknowledged(claimed.key, now)
    assert answered is not None
    done = answered.transfer
    assert ledger.transfers.requeue(claimed.id, now, None, "connection lost") == done
    assert ledger.transfers.sent(claimed.id, now) == done
    assert ledger.transfers.failed(claimed.id, now, "EFNA 99", "late") == done


def test_an_end_response_nobody_waits_for_is_unknown(
    ledger: Ledger, claimed: Transfer, now: datetime, other: Partner
) -> None:
    key = FileIdentity(originator="A", destination="B", dataset="C", date="20260304", time="1230150001")
    assert ledger.transfers.acknowledged(key, now) is None
    assert ledger.transfers.refused(key, now, "NERP 01", "") is None
    assert ledger.transfers.acknowledged(claimed.key, now, partner_id=other.id) is None


def test_a_failed_file_is_retried_under_its_stamp(ledger: Ledger, claimed: Transfer, now: datetime) -> None:
    ledger.transfers.efid_going(claimed.id)
    failed = ledger.transfers.failed(claimed.id, now, None, "connection lost")
    again = ledger.transfers.retry(failed.id, now + SECOND)
    assert (again.key, again.efid_sent, again.text) == (claimed.key, True, None)


def test_a_retried_file_has_all_its_attempts_again(
    ledger: Ledger, partner: Partner, claimed: Transfer, now: datetime
) -> None:
    ledger.transfers.requeue(claimed.id, now, None, "connection lost")
    again = ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)
    assert again is not None
    assert again.attempts == 2
    ledger.transfers.failed(claimed.id, now, None, "given up after 2 attempts: connection lost")
    assert ledger.transfers.retry(claimed.id, now).attempts == 0


def test_a_refused_file_is_retried_under_a_new_stamp(ledger: Ledger, claimed: Transfer, now: datetime) -> None:
    ledger.transfers.sent(claimed.id, now)
    answered = ledger.transfers.refused(claimed.key, now, "NERP 34", "cannot be read")
    assert answered is not None
    refused = answered.transfer
    assert (refused.state, refused.reason, refused.text) == (TransferState.REFUSED, "NERP 34", "cannot be read")
    again = ledger.transfers.retry(claimed.id, now)
    assert (again.time, again.efid_sent, again.reason) == ("1230150002", False, None)


def test_an_efna_says_that_the_partner_has_not_got_the_file(
    ledger: Ledger, partner: Partner, claimed: Transfer, now: datetime
) -> None:
    ledger.transfers.efid_going(claimed.id)
    assert not ledger.transfers.requeue(claimed.id, now, None, "EFNA 99", efid_sent=False).efid_sent
    assert ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)
    ledger.transfers.efid_going(claimed.id)
    assert not ledger.transfers.failed(claimed.id, now, "EFNA 02", "", efid_sent=False).efid_sent


def test_cancelled_and_taken_up_again(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    queued = ledger.transfers.queue(files.outgoing(partner), now)
    assert ledger.transfers.cancel(queued.id, now).state is TransferState.CANCELLED
    with pytest.raises(IllegalMoveError, match="is cancelled and cannot become cancelled"):
        ledger.transfers.cancel(queued.id, now)
    assert ledger.transfers.retry(queued.id, now).state is TransferState.QUEUED


def test_what_was_confirmed_is_not_sent_again_and_the_way_to_is_named(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    confirmed = sent(ledger, partner, files, now)
    ledger.transfers.acknowledged(confirmed.key, now)
    with pytest.raises(IllegalMoveError, match="is acknowledged and cannot become queued") as caught:
        ledger.transfers.retry(confirmed.id, now)
    assert "'oftp2d send'" in caught.value.advice


def test_what_is_being_sent_cannot_be_cancelled(ledger: Ledger, claimed: Transfer, now: datetime) -> None:
    with pytest.raises(IllegalMoveError):
        ledger.transfers.cancel(claimed.id, now)
    assert ledger.transfers.get(claimed.id) == claimed


def test_an_unknown_transfer_is_named(ledger: Ledger, now: datetime) -> None:
    for verb in (ledger.transfers.get, lambda key: ledger.transfers.sent(key, now)):
        with pytest.raises(UnknownError, match="there is no transfer NOSUCH"):
            verb("NOSUCH")


def test_listings_come_in_pages(ledger: Ledger, partner: Partner, other: Partner, files: Any, now: datetime) -> None:
    made = [ledger.transfers.queue(files.outgoing(partner, f"F{n}"), now).id for n in range(5)]
    ledger.transfers.queue(files.outgoing(other, "E"), now)
    first = ledger.transfers.list(partner_id=partner.id, limit=3)
    rest = ledger.transfers.list(
        partner_id=partner.id,
        limit=3,
        before=first[-1].id,
        direction=Direction.OUT,
        state=TransferState.QUEUED,
        kind=Kind.FILE,
    )
    assert [transfer.id for transfer in (*first, *rest)] == made[::-1]
    assert ledger.transfers.list(direction=Direction.IN) == []
    assert ledger.transfers.counts() == {TransferState.QUEUED: 6}


def test_how_far_a_file_came_is_known_to_the_next_try(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    queued = ledger.transfers.queue(files.outgoing(partner), now)
    assert queued.reached == 0

    def claimed() -> Transfer:
        claim = ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)
        assert claim is not None
        return claim

    assert claimed().reached == 0
    ledger.transfers.requeue(queued.id, now, None, "cut off", reached=4)
    assert claimed().reached == 4
    ledger.transfers.failed(queued.id, now, None, "cut off too often", reached=3)
    ledger.transfers.retry(queued.id, now)
    assert claimed().reached == 3
    ledger.transfers.failed(queued.id, now, None, "")
    ledger.transfers.retry(queued.id, now, new_stamp=True)
    assert claimed().reached == 0


def test_where_nobody_noted_how_far_a_file_came_all_of_it_may_be_there(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    queued = ledger.transfers.queue(files.outgoing(partner), now)
    for end in (
        lambda: ledger.transfers.release("session-1", now),
        lambda: ledger.transfers.recover(lambda _owner: False, now),
        lambda: ledger.transfers.claim_next(partner.id, "session-2", now + 2 * LEASE, LEASE),
    ):
        claim = ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)
        assert claim is not None
        end()
        assert ledger.transfers.get(queued.id).reached is None
        ledger.transfers.recover(lambda _owner: False, now)


def _sized(files: Any, partner: Partner, dataset: str, octets: int, kind: Kind = Kind.FILE) -> Any:
    return replace(files.outgoing(partner, dataset, kind), octets=octets)


def test_small_files_are_claimed_together_in_their_order(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    for dataset, octets in (("A", 40), ("B", 50), ("C", 20), ("D", 10), ("LARGE", 1000), ("E", 0)):
        ledger.transfers.queue(_sized(files, partner, dataset, octets), now)
    ledger.transfers.queue(_sized(files, partner, "CERTIFICATE", 5, Kind.EXCHANGE), now)

    def claimed(at_most: int) -> list[str]:
        found = ledger.transfers.claim(partner.id, "session-1", now, LEASE, files=at_most, octets=100)
        assert all((each.state, each.attempts) == (TransferState.SENDING, 1) for each in found)
        return [each.dataset for each in found]

    assert claimed(10) == ["CERTIFICATE", "A", "B"]
    assert claimed(1) == ["C"]
    assert claimed(10) == ["D"]
    assert claimed(10) == ["LARGE"], "a large one goes alone"
    assert claimed(10) == ["E"]
    assert claimed(10) == []


def test_what_was_claimed_and_not_begun_is_given_back_untried(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    first, second, third = (ledger.transfers.queue(files.outgoing(partner), now) for _ in range(3))
    ledger.transfers.claim(partner.id, "session-1", now, LEASE, files=2, octets=100)
    ledger.transfers.claim(partner.id, "session-2", now, LEASE)
    ledger.transfers.unclaim([second.id, third.id], "session-1", now)
    assert ledger.transfers.get(second.id) == second
    assert ledger.transfers.get(first.id).claim_owner == "session-1"
    assert ledger.transfers.get(third.id).claim_owner == "session-2"


def test_a_session_prolongs_all_that_it_has_in_hand(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    for _ in range(2):
        ledger.transfers.queue(files.outgoing(partner), now)
    ledger.transfers.claim(partner.id, "session-1", now, LEASE, files=2, octets=100)
    ledger.transfers.renew_all("session-1", now + LEASE, LEASE)
    assert ledger.transfers.claim(partner.id, "session-2", now + LEASE + SECOND, LEASE) == []


def test_one_file_is_confirmed_and_the_next_under_way_or_neither(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    first, second = (ledger.transfers.queue(files.outgoing(partner), now) for _ in range(2))
    ledger.transfers.claim(partner.id, "session-1", now, LEASE)
    with pytest.raises(ClaimLostError):
        ledger.transfers.next_efid_going(first.id, second.id, "session-1", now)
    assert ledger.transfers.get(first.id).state is TransferState.SENDING
    ledger.transfers.claim(partner.id, "session-1", now, LEASE)
    ledger.transfers.next_efid_going(first.id, second.id, "session-1", now)
    assert ledger.transfers.get(first.id).state is TransferState.SENT
    assert ledger.transfers.get(second.id).efid_sent


def test_an_end_response_to_a_file_that_never_came_to_its_efid_is_unknown(
    ledger: Ledger, claimed: Transfer, now: datetime
) -> None:
    assert ledger.transfers.acknowledged(claimed.key, now, in_full=True) is None
    assert ledger.transfers.refused(claimed.key, now, "NERP 34", "", in_full=True) is None
    ledger.transfers.efid_going(claimed.id)
    assert ledger.transfers.acknowledged(claimed.key, now, in_full=True) is not None


def test_a_crash_counts_as_no_attempt(ledger: Ledger, partner: Partner, claimed: Transfer, now: datetime) -> None:
    assert claimed.attempts == 1
    (again,) = ledger.transfers.recover(lambda _owner: False, now)
    assert (again.id, again.attempts) == (claimed.id, 0)
