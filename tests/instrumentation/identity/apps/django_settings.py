"""Settings of the Django applications."""

SECRET_KEY = "for a test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "django_urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django_urls.moderate"]
INSTALLED_APPS: list[str] = []
