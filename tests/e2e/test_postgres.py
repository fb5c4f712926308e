"""The PostgreSQL server that tests use goes away and comes back with its data."""

import socket

import postgres
import pytest

pytestmark = pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())


def test_the_server_comes_back_with_its_data_at_the_same_address():
    with postgres.Postgres() as server:
        server.sql("CREATE TABLE animals (id int PRIMARY KEY, name text); INSERT INTO animals VALUES (1, 'Fuchs'), (2, NULL);")
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        server.start()
        assert server.sql("SELECT id, name FROM animals ORDER BY id") == "1\tFuchs\n2\t\n"
    assert not server.folder.exists()
