"""SecretProvider: what the engine sends, and values that do not show themselves."""

from __future__ import annotations

import pytest
from scripted_client import DriverClient, ScriptedClient

from extframe.errors import ProtocolError, RemoteError
from extframe.interface import declaration
from extframe.subsystems.secret import EndpointSpec, PortConfig, Secret, SecretProvider


def driver(*replies: object, status: int = 200) -> tuple[SecretProvider, ScriptedClient]:
    client = ScriptedClient(*replies, status=status)
    return SecretProvider.remote(client), client


def test_the_extension_point_is_lower_case_and_its_prefix_is_not():
    found = declaration(SecretProvider)
    assert (found.implements, found.methods[0].wire) == ("secretprovider", "SecretProvider.GetSecret")


def test_a_request_has_what_is_set_and_no_more():
    secrets, client = driver()
    secrets.get_secret("s")
    assert client.last.body == b'{"SecretName":"s"}\n'
    secrets.get_secret("s", task_id="t", service_endpoint_spec=EndpointSpec())
    assert client.last.body == b'{"SecretName":"s","TaskID":"t","ServiceEndpointSpec":{}}\n'


def test_a_whole_request_is_byte_for_byte_what_the_engine_sends():
    secrets, client = driver()
    spec = EndpointSpec(
        mode=1, ports=[PortConfig(name="web", protocol=1, target_port=80, published_port=8080, publish_mode=1)]
    )
    secrets.get_secret("s", {"a": "b"}, "h", "si", "sn", {"c": "d"}, "ti", "tn", "im", "ni", spec)
    assert client.last.body == (
        b'{"SecretName":"s","SecretLabels":{"a":"b"},"ServiceHostname":"h","ServiceID":"si","ServiceName":"sn",'
        b'"ServiceLabels":{"c":"d"},"TaskID":"ti","TaskName":"tn","TaskImage":"im","NodeID":"ni",'
        b'"ServiceEndpointSpec":{"Mode":1,"Ports":[{"Name":"web","Protocol":1,"TargetPort":80,"PublishedPort":8080,'
        b'"PublishMode":1}]}}\n'
    )


@pytest.mark.parametrize(
    ("reply", "secret"),
    [
        ({"Value": "czNjcmV0", "DoNotReuse": False}, Secret(value=b"s3cret")),
        ({"value": "czNjcmV0", "donotreuse": True}, Secret(value=b"s3cret", do_not_reuse=True)),
        ({"Value": None, "Err": ""}, Secret()),
        ({}, Secret()),
    ],
)
def test_a_value_is_bytes(reply, secret):
    assert driver(reply)[0].get_secret("s") == secret


@pytest.mark.parametrize("value", ["not base64", "czNjcmV", 5])
def test_a_value_that_is_not_base64_is_an_error_with_the_place(value):
    with pytest.raises(ProtocolError, match=r"at `\$.Value`"):
        driver({"Value": value})[0].get_secret("s")


@pytest.mark.parametrize("status", [200, 500])
def test_a_secret_that_does_not_exist_is_an_error(status):
    with pytest.raises(RemoteError, match="no such secret"):
        driver({"Err": "no such secret"}, status=status)[0].get_secret("s")


def test_a_value_does_not_show_itself():
    assert repr(Secret(value=b"s3cret")) == "Secret(value=<6 bytes>, do_not_reuse=False)"


class Vault(SecretProvider):
    def get_secret(self, secret_name: str, **about) -> Secret:
        return Secret(value=f"{secret_name} of {about['task_name']}".encode(), do_not_reuse=True)


def test_both_ends_understand_each_other():
    secrets = SecretProvider.remote(DriverClient(Vault()))
    assert secrets.get_secret("s", task_name="t") == Secret(value=b"s of t", do_not_reuse=True)
