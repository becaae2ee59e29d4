from bifrost import BaseIntegration, IntegrationError


class Tool(BaseIntegration):
    """An integration whose calls answer, fail for a while, or fail for good."""

    integration_name = "tool"
    tries = 0

    async def authenticate(self):
        pass

    async def say(self, value):
        return value

    async def answer_at_last(self):
        type(self).tries += 1
        if type(self).tries < 3:
            raise IntegrationError("busy", status_code=503)
        return {"tries": 3}

    async def refuse(self):
        raise IntegrationError("sold out", integration="tool", status_code=409)
