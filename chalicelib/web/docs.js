// Starts Swagger UI on this service's own description. The link is relative, so that a stage prefix stays in it.
"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
});
