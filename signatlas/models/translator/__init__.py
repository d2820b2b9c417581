"""The translator (SCL-SLT, GFSLT-VLP): sign embedding, mBART, and their inputs."""
