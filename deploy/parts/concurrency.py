"""How many splitters may run at once, so that recognizers can always start."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.parts.targets import NOT_FOUND
from pipeline.aws import read_or_none
from pipeline.cli import Run
from pipeline.settings import Function

# AWS keeps this many of an account's environments unreserved for its other functions.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
UNRESERVED = 100

# What is reserved is taken from every other function of the account, used or not. A tenth is far
# below the half at which splitters starve recognizers, and lets deployments share an account.
SHARE = 10


@dataclass(frozen=True)
class Concurrency:
    """What an account may run at once in a region, and what of that a function may reserve."""

    limit: int
    unreserved: int
    own: int
    """What the function has reserved itself; 0 without a reservation."""

    @property
    def free(self) -> int:
        """What no other function has reserved."""
        return self.unreserved + self.own

    @property
    def most(self) -> int:
        """The highest cap that AWS grants and that leaves as many, and one, for recognizers.

        Each video holds two environments, the splitter's and the recognizer's, which is not
        reserved: splitters at half of what is free or more could wait for recognizers that can
        never start.
        """
        return min((self.free - 1) // 2, self.free - UNRESERVED)

    @property
    def cap(self) -> int | None:
        """The cap to set, which is the one that is set where that will do; None: there is none."""
        if self.most < 1:
            return None
        if 1 <= self.own <= self.most:
            return self.own
        return min(self.most, self.limit // SHARE)

    @property
    def at_once(self) -> int:
        """How many videos can be worked on at once without a cap before they starve each other."""
        return max(0, self.free - 1) // 2

    @property
    def shortage(self) -> str:
        """Why there is no cap."""
        if self.limit <= UNRESERVED:
            return f"this account may run {self.limit} functions at once, too few to reserve any"
        return (
            f"of the {self.limit} functions that this account may run at once, others have "
            f"reserved all but {self.free}, and AWS keeps {UNRESERVED} unreserved"
        )

    @property
    def remedy(self) -> str:
        """What helps where there is no cap."""
        quota = "Service Quotas, AWS Lambda, Concurrent executions"
        if self.limit <= UNRESERVED:
            return f"ask for a quota of 1,000 ({quota})"
        return f"give reservations of other functions back, or ask for a higher quota ({quota})"


def read_concurrency(run: Run, function: Function) -> Concurrency:
    """What the account has, and what `function`, which need not exist, has reserved of it."""
    client = run.aws.client("lambda")
    account = client.get_account_settings()["AccountLimit"]
    current = read_or_none(
        lambda: client.get_function_concurrency(FunctionName=function.name), NOT_FOUND
    )
    return Concurrency(
        account["ConcurrentExecutions"],
        account["UnreservedConcurrentExecutions"],
        (current or {}).get("ReservedConcurrentExecutions") or 0,
    )


def ensure_cap(run: Run, function: Function) -> None:
    """Cap the function, or warn where nothing is left to reserve."""
    account = read_concurrency(run, function)
    cap = account.cap
    if cap is None:
        run.note(
            f"WARNING: {account.shortage}. More than {account.at_once} videos at a time can "
            f"starve each other: upload slowly, or {account.remedy}."
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
