from tests.web.dashboards import Dashboard


def test_a_page_that_is_not_there_says_so(dashboard: Dashboard) -> None:
    answer = dashboard.get("nothing/here")

    assert answer.status_code == 404
    assert "There is no such page here." in answer.text
    assert 'href="../static/dashboard.css?v=' in answer.text
