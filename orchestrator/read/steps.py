"""Steps of a scenario → the steps of the model, in order: what a step has opened, the next ones find."""

from __future__ import annotations

from orchestrator.model.steps import (
    Cut,
    Dns,
    Heal,
    Kill,
    Link,
    Note,
    Parallel,
    Pause,
    Repeat,
    Resume,
    Step,
    Wait,
)
from orchestrator.read import impairments, values
from orchestrator.read.calls import CallReader
from orchestrator.read.expects import ExpectReader
from orchestrator.read.findings import shown
from orchestrator.read.forms import long_form, name_in, short_form, written
from orchestrator.read.names import Names
from orchestrator.read.nodes import At, Mapping, Node, Scalar, Sequence
from orchestrator.read.people import RUN_PROGRAM, People
from orchestrator.read.scenario_schema import STEP_FIELDS
from orchestrator.read.verbs import ALL_VERBS, GRAMMARS
from orchestrator.read.vocabulary import SIGNALS
from orchestrator.read.words import Reading, Word

MOST_DEEP = 5  # `parallel` and `repeat` inside each other
_BESIDE = {"repeat": "steps", "pause": "for", "kill": "signal"}  # keys that belong to another
_BELONGS = {key: owner for owner, key in _BESIDE.items()}
KEYWORDS = tuple(key for key, field in STEP_FIELDS.items() if key not in _BELONGS)


class StepReader:
    """Reads the steps of one performance of a scenario, in order: names live from step to step."""

    def __init__(self, people: People, reading: Reading) -> None:
        self.people = people
        self.reading = reading
        self.findings = reading.findings
        self.names = Names(reading.findings)
        self.calls = CallReader(people, self.names, reading.findings)
        self.expects = ExpectReader(self.calls, reading)
        self._depth = 0

    def give_time(self, node: Node | None) -> None:
        """The scenario's `within` holds for the expectations that give none."""
        word = self._word(node) if isinstance(node, Scalar) else None
        seconds = None if word is None else values.some_time(word, self.findings)
        if seconds is not None:
            self.expects.within = seconds

    def steps(self, node: Node | None) -> tuple[Step, ...]:
        """Steps one after the other."""
        items = node.items if isinstance(node, Sequence) else ()
        found = [self.step(item) for item in items if isinstance(item, Mapping)]
        return tuple(step for step in found if step is not None)

    def step(self, node: Mapping) -> Step | None:
        """One step. None after a diagnostic."""
        main = [(key, value) for key, value in node.entries if key.text not in _BELONGS]
        at = At(node.line, node.column)
        if len(main) > 1:
            text = f"a step does one thing: {shown(main[1][0].text)} begins another"
            self.findings.add(main[1][0], text, "put `- ` before it")
        for key, _ in node.entries:
            owner = _BELONGS.get(key.text)
            if owner and all(one.text != owner for one, _ in main):
                self.findings.add(key, f"`{key.text}` belongs to `{owner}`")
        if not main:
            return None
        key, value = main[0]
        if key.text not in KEYWORDS:
            return self._of_host(key, value, at)
        read = {
            "wait": self._wait,
            "note": self._note,
            "repeat": self._repeat,
            "parallel": self._parallel,
            "expect": self._expect,
            "pause": self._pause,
            "resume": self._resume,
            "kill": self._kill,
            "cut": self._impair,
            "link": self._impair,
            "dns": self._impair,
            "heal": self._heal,
        }[key.text]
        return read(node, value, at)

    def _of_host(self, key: Scalar, value: Node, at: At) -> Step | None:
        """`alice: connect web:80 as call`, in either form."""
        before = self.reading.unknown
        name = self.reading.word(key)
        if self.reading.unknown != before:
            return None
        host = self._who(name)
        if isinstance(value, Scalar):
            said = short_form(host or name.text, value, self.reading)
        else:
            said = long_form(host or name.text, value, self.reading) if isinstance(value, Mapping) else None
        if said is None:
            self.names.unsure(host or name.text, name_in(value) if isinstance(value, Scalar) else None)
            return None
        if host is None:
            self.names.unsure(name.text, said.name.text if said.name else None)
            return None
        return self.calls.step(said, at)

    def _who(self, name: Word) -> str | None:
        """The host of a step. None after a diagnostic."""
        if name.text in ALL_VERBS and not self.people.known(name.text):
            hint = f"write it as `alice: {GRAMMARS[name.text].example}`"
            self.findings.add(name, f"{shown(name.text)} is a verb, and no host stands before it", hint)
            return None
        return self.people.host(name, self.findings, others=KEYWORDS)

    def _written(self, node: Mapping) -> str:
        """A step of a keyword, on one line."""
        return self.reading.shown(written(node)[1:-1])

    def _word(self, value: Node) -> Word | None:
        """The scalar's text with variables; None where one of these is not known."""
        before = self.reading.unknown
        word = self.reading.word(value) if isinstance(value, Scalar) else None
        return word if self.reading.unknown == before else None

    def _wait(self, node: Mapping, value: Node, at: At) -> Step | None:
        word = self._word(value)
        if word is None:
            return None
        text = self._written(node)
        if word.text[:1].isdigit():
            seconds = values.duration(word, self.findings)
            return (
                None if seconds is None else Wait(line=at.line, column=at.column, text=text, seconds=seconds)
            )
        ref = self.calls.awaited(word)
        return None if ref is None else Wait(line=at.line, column=at.column, text=text, step=ref)

    def _note(self, node: Mapping, value: Node, at: At) -> Step | None:
        word = self._word(value)
        if word is None:
            return None
        return Note(line=at.line, column=at.column, text=self._written(node), words=word.text)

    def _deeper(self, at: At) -> bool:
        if self._depth >= MOST_DEEP:
            self.findings.add(at, f"`parallel` and `repeat` more than {MOST_DEEP} deep")
        return self._depth < MOST_DEEP

    def _repeat(self, node: Mapping, value: Node, at: At) -> Step | None:
        word, steps = self._word(value), node.get("steps")
        if steps is None and not self.findings.near(at, len(node.entries)):
            self.findings.add(at, "`repeat` without `steps`", "write it as `{repeat: 3, steps: [...]}`")
        times = None if word is None else values.times(word, self.findings)
        if steps is None or not self._deeper(at):
            return None
        self._depth += 1
        found = self.steps(steps)
        if not isinstance(times, int) or times > 1:
            self.steps(steps)  # the second round finds what the first has left open
        self._depth -= 1
        if not isinstance(times, int):
            return None
        return Repeat(line=at.line, column=at.column, text=f"repeat: {times}", times=times, steps=found)

    def _parallel(self, _node: Mapping, value: Node, at: At) -> Step | None:
        if not self._deeper(at):
            return None
        self._depth += 1
        found = []
        with self.names.parallel() as number:
            for count, item in enumerate(value.items if isinstance(value, Sequence) else ()):
                self.names.side(number, count)
                if isinstance(item, Mapping):
                    found.append(self.step(item))
        self._depth -= 1
        steps = tuple(step for step in found if step is not None)
        return Parallel(line=at.line, column=at.column, text="parallel:", steps=steps)

    def _expect(self, _node: Mapping, value: Node, at: At) -> Step | None:
        if not isinstance(value, Mapping):
            return None
        return self.expects.expectation(Scalar(at.line, at.column, "expect"), value)

    def _whom(self, value: Node) -> tuple[str, str | None] | None:
        """`web` or `web.run`: a host, and a program of it. None after a diagnostic."""
        word = self._word(value)
        if word is None:
            return None
        if "." not in word.text:
            host = self.people.host(word, self.findings)
            return (host, None) if host else None
        host, name = self.people.split(word, self.findings)
        if host is None or name is None:
            return None
        return (host, name) if self._is_program(host, name, word) else None

    def _is_program(self, host: str, name: str, word: Word) -> bool:
        if name == RUN_PROGRAM:
            if not self.people.runs(host):
                text = f"the lab file gives {shown(host)} no program to `run`"
                self.findings.add(word, text, f"name a step of it, as `{host}: run sleep 60 as nap &`")
            return self.people.runs(host)
        left = self.names.steps.get(host, {}).get(name)
        if left is None and self.names.maybe(host):
            return True
        if left is None or (left.kind not in ("run", "fork", "unknown")):
            text = f"{shown(host)} has started no program {shown(name)}"
            self.findings.add(word, text, f"a step starts it: `{host}: run sleep 60 as {name} &`")
            return False
        return True

    def _pause(self, node: Mapping, value: Node, at: At) -> Step | None:
        whom, length = self._whom(value), node.get("for")
        word = self._word(length) if length is not None else None
        seconds = values.some_time(word, self.findings) if word else None
        if whom is None or (length is not None and seconds is None):
            return None
        text = self._written(node)
        return Pause(
            line=at.line, column=at.column, text=text, host=whom[0], program=whom[1], seconds=seconds
        )

    def _resume(self, node: Mapping, value: Node, at: At) -> Step | None:
        whom = self._whom(value)
        if whom is None:
            return None
        text = self._written(node)
        return Resume(line=at.line, column=at.column, text=text, host=whom[0], program=whom[1])

    def _kill(self, node: Mapping, value: Node, at: At) -> Step | None:
        whom, given = self._whom(value), node.get("signal")
        word = self._word(given) if given is not None else None
        if whom is None:
            return None
        signal: str | None = "KILL"
        if given is not None:
            signal = self._signal(word, whom) if word else None
        if whom[1] is None:
            self.names.close_all(whom[0], at.line)
        if signal is None:
            return None
        text = self._written(node)
        return Kill(line=at.line, column=at.column, text=text, host=whom[0], program=whom[1], signal=signal)

    def _impair(self, node: Mapping, value: Node, at: At) -> Step | None:
        words = self.reading.words(value) if isinstance(value, Scalar) else None
        if words is None or not isinstance(value, Scalar):
            return None
        kind = node.entries[0][0].text
        if not words:
            self.findings.add(value, f"`{kind}` of nothing", impairments.FORMS[kind])
            return None
        where = {"line": at.line, "column": at.column, "text": self._written(node)}
        told = words, self.people.ends(), self.findings, self.reading.shown(value.text)
        if kind == "cut":
            cut = impairments.cut(*told)
            return None if cut is None else Cut(**where, spec=cut)  # type: ignore[arg-type]
        if kind == "dns":
            dns = impairments.dns(*told)
            return None if dns is None else Dns(**where, spec=dns)  # type: ignore[arg-type]
        link = impairments.link(*told)
        return None if link is None else Link(**where, spec=link)  # type: ignore[arg-type]

    def _heal(self, node: Mapping, value: Node, at: At) -> Step | None:
        words = self.reading.words(value) if isinstance(value, Scalar) else None
        if words is None:
            return None
        if not words or len(words) > 2:
            self.findings.add(value, "`heal` of what", "write it as `heal: all` or `heal: alice web`")
            return None
        every = len(words) == 1 and words[0].text == "all"
        named = [None] if every else [self.people.ends().known(word, self.findings) for word in words]
        if not every and None in named:
            return None
        one, other = (*named, None)[:2]
        return Heal(line=at.line, column=at.column, text=self._written(node), one=one, other=other)

    def _signal(self, word: Word, whom: tuple[str, str | None]) -> str | None:
        if whom[1] is None:
            self.findings.add(word, "a host gets no signal", f"name a program of it, as `{whom[0]}.run`")
            return None
        name = word._replace(text=word.text.upper().removeprefix("SIG"))
        found = values.one_of("signal", SIGNALS)(name, self.findings)
        return None if found is None else str(found)
