"""The reverse proxy in front of the API of one machine. It decides which requests the API gets, and when.

The API's threads share one interpreter lock, so under load they could not refuse requests quickly. This process reads
all requests on one thread, holds those that wait, refuses what cannot be served in time, and gives the API only as many
at once as it can serve. API Gateway and Lambda's concurrency do the same on AWS.
"""
