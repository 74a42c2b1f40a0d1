"""Shares one instance of each legacy server among all of pytest's worker processes, and hands out their accounts.

It lives in the process that the user started; the workers ask it over a UNIX socket, one question a connection."""

import multiprocessing.connection
import pathlib
import shutil
import tempfile
import threading

from certs import Authority
from servers import ACCOUNTS, KINDS


class Broker:
    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-e2e-"))
        self.address = str(self.directory / "broker")
        self._servers = {}
        self._accounts = {}
        self._listener = multiprocessing.connection.Listener(self.address, "AF_UNIX")
        self._thread = threading.Thread(target=self._serve, name="broker", daemon=True)
        self._thread.start()

    def stop(self):
        ask(self.address, "stop")
        self._thread.join()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _serve(self):
        """Servers are started by this thread alone: they end when it does."""
        going_on = True
        while going_on:
            with self._listener.accept() as connection:
                question, *arguments = connection.recv()
                try:
                    connection.send((True, getattr(self, f"_answer_{question}")(*arguments)))
                except Exception as error:  # the worker that asked shall fail with it, not the broker
                    connection.send((False, f"{type(error).__name__}: {error}"))
                going_on = question != "stop"
        self._listener.close()

    def _answer_server(self, kind):
        if kind not in self._servers:
            self._servers[kind] = KINDS[kind]().start()
        return self._servers[kind]

    def _answer_account(self, kind):
        number = self._accounts.get(kind, 0)
        if number >= ACCOUNTS:
            raise RuntimeError(f"all {ACCOUNTS} accounts of {kind} are taken: raise servers.ACCOUNTS")
        self._accounts[kind] = number + 1
        return KINDS[kind].account(number)

    def _answer_authority(self):
        """A directory with a certificate authority that is complete before anyone looks into it."""
        Authority(self.directory / "tls").issue()
        return self.directory / "tls"

    def _answer_stop(self):
        for server in self._servers.values():
            server.remove()


def ask(address, *question):
    with multiprocessing.connection.Client(address, "AF_UNIX") as connection:
        connection.send(question)
        good, answer = connection.recv()
    if not good:
        raise RuntimeError(answer)
    return answer
