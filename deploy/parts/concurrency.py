"""Caps how many splitters run at once, so that recognizers can always start."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.aws import NOT_FOUND, read_or_none
from pipeline.cli import Run
from pipeline.settings import Function

# AWS does not let an account reserve the last 100; a smaller one can reserve nothing.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
UNRESERVED = 100

# An event source's MaximumConcurrency is at least this.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
LEAST_FROM_QUEUE = 2

# Reserved concurrency is taken from the account's other functions, used or not. A tenth is far
# below the half at which splitters starve recognizers, and lets several deployments share an
# account.
SHARE = 10


@dataclass(frozen=True)
class Concurrency:
    """An account's concurrency in a region, and how much of it a function can reserve."""

    limit: int
    unreserved: int
    own: int
    """What this function has reserved; 0 without a reservation."""

    @property
    def free(self) -> int:
        """What other functions have not reserved."""
        return self.unreserved + self.own

    @property
    def most(self) -> int:
        """The highest cap that AWS accepts and that leaves more for recognizers than it takes.

        Each video uses two environments: a splitter, and a recognizer, which reserves nothing. If
        splitters took half of what is free, they could wait for recognizers that never start.
        """
        return min((self.free - 1) // 2, self.free - min(UNRESERVED, self.limit))

    @property
    def cap(self) -> int | None:
        """The cap to set: the current one if it is acceptable. None if no cap is possible."""
        if self.most < 1:
            return None
        if 1 <= self.own <= self.most:
            return self.own
        return min(self.most, self.limit // SHARE)

    @property
    def needs_queue(self) -> bool:
        """Whether uploads have to wait in a queue, as nothing else limits the splitters."""
        return self.cap is None and self.free > LEAST_FROM_QUEUE

    @property
    def pairs(self) -> int:
        """How many videos a queue lets in at once: half of what others have not reserved.

        Each splitter then finds a recognizer's slot. Three slots have two splitters, as AWS takes
        no lower limit; they share the third.
        """
        return max(LEAST_FROM_QUEUE, self.free // 2)

    @property
    def shortage(self) -> str:
        """Why no cap is possible."""
        if self.limit <= UNRESERVED:
            return f"this account can run {self.limit} functions at once, too few to reserve any"
        return (
            f"this account can run {self.limit} functions at once, but other functions have "
            f"reserved all but {self.free}, and {UNRESERVED} must stay unreserved"
        )

    @property
    def waiting(self) -> str:
        """What uploads do when no cap is possible."""
        return f"Uploads wait in a queue, and Lambda works on {self.pairs} videos at a time"

    @property
    def remedy(self) -> str:
        """What to do when no cap is possible."""
        quota = "Service Quotas, AWS Lambda, Concurrent executions"
        if self.limit <= UNRESERVED:
            return f"ask for a quota of 1,000 ({quota})"
        return f"release reservations of other functions, or ask for a higher quota ({quota})"


def read_concurrency(run: Run, function: Function) -> Concurrency:
    """Return the account's concurrency and what `function` has reserved, if it exists."""
    client = run.aws.client("lambda")
    account = client.get_account_settings()["AccountLimit"]
    current = read_or_none(
        lambda: client.get_function_concurrency(FunctionName=function.name), NOT_FOUND
    )
    return Concurrency(
        account["ConcurrentExecutions"],
        account["UnreservedConcurrentExecutions"],
        (current.get("ReservedConcurrentExecutions") or 0) if current else 0,
    )


def ensure_cap(run: Run, function: Function) -> None:
    """Cap the function; say what happens instead if nothing is left to reserve."""
    account = read_concurrency(run, function)
    cap = account.cap
    if account.needs_queue:
        run.note(f"Note: {account.shortage}. {account.waiting}. To run more, {account.remedy}.")
        return
    if cap is None:
        run.note(
            f"WARNING: {account.shortage}. A video needs two functions at once, and videos can "
            f"starve each other: upload them one by one, or {account.remedy}."
        )
        return
    if account.own == cap:
        run.kept(f"concurrency of function '{function.name}' at {cap}")
        return
    run.change(
        "cap",
        f"concurrency of function '{function.name}' at {cap} of the account's {account.limit}",
        lambda: run.aws.client("lambda").put_function_concurrency(
            FunctionName=function.name, ReservedConcurrentExecutions=cap
        ),
    )
