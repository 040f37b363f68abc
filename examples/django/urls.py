from django.urls import path

import views

urlpatterns = [
    path("", views.home, name="home"),
    path("login", views.log_in, name="login"),
    path("contacts", views.add_contact, name="contacts"),
    path("hubspot/session", views.create_session, name="session"),
    path("hubspot/confirm", views.confirm_session, name="confirm"),
    path("hooks/hubspot", views.receive_webhook),
]
