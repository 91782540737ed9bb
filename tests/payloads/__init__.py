import pytest

pytest.register_assert_rewrite("tests.payloads.storage_contract")
