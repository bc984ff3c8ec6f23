"""Process settings."""

import pytest

from gateway.settings import Settings, SettingsError, read_settings


def test_without_variables_the_defaults_hold():
    assert read_settings({"PATH": "/bin"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "٣"),
        ("GATEWAY_PORT", "1_0"),
        ("GATEWAY_PORT", "-1"),
        ("GATEWAY_PORT", "70000"),
        ("GATEWAY_PORT", "9" * 5000),
        ("GATEWAY_WORKERS", "0"),
        ("GATEWAY_GRACE_S", "nan"),
        ("GATEWAY_GRACE_S", "1e9"),
        ("GATEWAY_LOG_FORMAT", "xml"),
        ("GATEWAY_ADMIN_TOKEN", "short"),
        ("GATEWAY_ADMIN_TOKEN", "an-example-token-of-the-docs"),
        ("GATEWAY_ADMIN_TOKEN", ""),
        ("GATEWAY_ADMIN_TOKEN", "   "),
        ("GATEWAY_DATA_DIR", ""),
    ],
)
def test_a_wrong_value_names_its_variable_and_never_its_value(name, value):
    """AUTH-19"""
    with pytest.raises(SettingsError) as error:
        read_settings({name: value})
    assert name in str(error.value)
    assert len(value) < 4 or value not in str(error.value)


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(SettingsError, match="GATEWAY_PROT"):
        read_settings({"GATEWAY_PROT": "1"})


@pytest.mark.parametrize(
    ("name", "value"), [("GATEWAY_PORT", "tcp://10.0.0.1:80"), ("GATEWAY_SERVICE_HOST", "10.0.0.1")]
)
def test_what_kubernetes_injects_for_a_service_of_our_name_is_explained(name, value):
    with pytest.raises(SettingsError, match="enableServiceLinks: false"):
        read_settings({name: value})
