"""A Django application under a WSGI or an ASGI server: `python django_app.py wsgi`."""

import sys

import serving

if __name__ == "__main__":
    if sys.argv[1] == "asgi":
        from django.core.asgi import get_asgi_application

        serving.asgi(get_asgi_application())
    else:
        from django.core.wsgi import get_wsgi_application

        serving.wsgi(get_wsgi_application())
