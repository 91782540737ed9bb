"""The summary of a run, as JSON and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tests.torture.checker import Findings
from tests.torture.logs import Beliefs

if TYPE_CHECKING:
    from tests.torture.faults import Field
    from tests.torture.run import Settings

_SHOWN = 20  # violations of a kind


def summarize(
    settings: Settings,
    field: Field,
    faults: Counter[str],
    *,
    beliefs: Beliefs,
    findings: Findings,
    seconds: float,
) -> dict[str, Any]:
    """Return everything that is worth keeping, as JSON-serialisable values."""
    faults = faults + beliefs.faults
    (server_version,) = field.server.execute("SHOW server_version")[0]
    return {
        "duplicates": findings.count("duplicate"),
        "lost": findings.count("lost") + findings.count("lost ack"),
        "violations": {kind: each[:_SHOWN] for kind, each in findings.violations.items() if each},
        "violation_counts": {kind: len(each) for kind, each in findings.violations.items() if each},
        "messages": findings.messages,
        "consumed_by_loop": dict(findings.consumed_by_loop.most_common()),
        "effects": findings.effects,
        "poison": {
            "messages": findings.poison,
            "dead_letters": findings.dead_letters,
            "attempts_failed": findings.failed,
            "pauses_judged": findings.rests,
        },
        "faults": faults.total(),
        "faults_by_kind": dict(faults.most_common()),
        "faults_not_possible": _impossible(field),
        "cut_short": {
            "judged": findings.wound_up,
            "amid_errors": findings.wound_up_amid_errors,
            "messages_finished": findings.finished,
        },
        "claims": findings.claims,
        "acks_confirmed": findings.acks,
        "claims_lost_and_refused": findings.claims_lost,
        "acks_unknown": dict(findings.acks_unknown),
        "pushes_unknown": dict(findings.pushes_unknown),
        "database_errors": dict(beliefs.errors.most_common()),
        "seconds": round(seconds, 1),
        "messages_per_second": round(findings.messages / seconds, 1),
        "seed": settings.seed,
        "workers": settings.workers,
        "minutes": settings.minutes,
        "versions": {
            "postgresql": server_version,
            **{name: version(name) for name in ("sqlalchemy", "psycopg")},
        },
    }


def text(summary: Mapping[str, Any]) -> str:
    """Return the summary for people."""
    cut_short, poison = summary["cut_short"], summary["poison"]
    lines = [
        f"messages pushed                {summary['messages']:>9,}",
        f"good ones consumed             {sum(summary['consumed_by_loop'].values()):>9,}",
        f"bad ones that are dead letters {poison['dead_letters']:>9,} of {poison['messages']:,}",
        f"attempts released as failed    {poison['attempts_failed']:>9,}",
        f"    {'their pauses, judged':<35}{poison['pauses_judged']:>7,}",
        f"faults injected                {summary['faults']:>9,}",
        *(f"    {kind:<35}{count:>7,}" for kind, count in summary["faults_by_kind"].items()),
        *(f"    {kind}: {why}" for kind, why in summary["faults_not_possible"].items()),
        f"turns cut short, wound up      {cut_short['judged']:>9,}",
        f"    {'messages that their streams finished':<38}{cut_short['messages_finished']:>4,}",
        f"    {'others, amid errors: not judged':<35}{cut_short['amid_errors']:>7,}",
        f"claims the workers saw         {summary['claims']:>9,}",
        f"acks confirmed                 {summary['acks_confirmed']:>9,}",
        f"claims lost, and refused       {summary['claims_lost_and_refused']:>9,}",
        *_unknown("acks", summary["acks_unknown"]),
        *_unknown("pushes", summary["pushes_unknown"]),
        f"errors of the database         {sum(summary['database_errors'].values()):>9,}",
        f"effects, one for each transact {summary['effects']:>9,}",
        f"seconds                        {summary['seconds']:>9,}",
        f"messages a second              {summary['messages_per_second']:>9,}",
        f"seed                           {summary['seed']:>9}",
        f"duplicates                     {summary['duplicates']:>9,}",
        f"lost                           {summary['lost']:>9,}",
    ]
    for kind, count in summary["violation_counts"].items():
        lines.append(f"VIOLATION, {kind}: {count}")
        lines += [f"    {each}" for each in summary["violations"][kind]]
    if not summary["violation_counts"]:
        lines.append("no violation")
    return "\n".join(lines)


def _unknown(what: str, outcomes: Mapping[str, int]) -> list[str]:
    found = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    total = f"{what + ' of unknown outcome':<31}{sum(outcomes.values()):>9,}"
    return [f"{total}: {found}" if found else total]


def _impossible(field: Field) -> dict[str, str]:
    impossible = {}
    if field.disk is None:
        impossible["disk full"] = "not possible here, only root may mount a small disk"
    if field.bouncer is None:
        impossible["pooler killed"] = "not possible here, there is no pgbouncer"
    return impossible
